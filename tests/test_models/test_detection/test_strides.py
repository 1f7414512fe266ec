"""Strides of maps, measured from their sizes."""

import pytest
import torch

pytest.importorskip('mmdet')
from mmbsa.models.detection.strides import check_time_major, image_size, true_strides  # noqa: E402

pytestmark = pytest.mark.det


@pytest.mark.parametrize('size', [(64, 96), (96, 64), (75, 131), (32, 32), (33, 34), (800, 1344)])
def test_true_strides_undoes_rounding(size):
    sides, maps = size, []
    for _ in range(5):
        sides = tuple(-(-side // 2) for side in sides)
        maps.append(torch.zeros(1, 1, 1, *sides))
    assert true_strides(maps, size) == (2, 4, 8, 16, 32)
    assert true_strides([maps[1], maps[2], maps[3], maps[3], maps[3][..., ::2, ::2]], size) == (
        4,
        8,
        16,
        16,
        32,
    )


def test_true_strides_refuses_maps_larger_than_the_image():
    with pytest.raises(ValueError, match='is larger than an image'):
        true_strides([torch.zeros(1, 40, 40)], (32, 32))


def test_image_size_prefers_the_batch():
    assert image_size([dict(img_shape=(10, 20), batch_input_shape=(32, 64))]) == (32, 64)
    assert image_size([dict(img_shape=(10, 20, 3))]) == (10, 20)
    with pytest.raises(ValueError, match='batch_input_shape'):
        image_size([dict(ori_shape=(1, 1))])


def test_check_time_major_names_the_shape():
    with pytest.raises(ValueError, match=r'head needs maps \(T, B, C, H, W\), got \(2, 3, 4, 4\)'):
        check_time_major([torch.zeros(2, 3, 4, 4)], 'head')


def test_true_strides_takes_the_nearest_power_of_two_of_the_longer_side():
    """30 cells of 100 pixels fit no stride exactly: 100 / 30 is nearest to 4, 100 / 55 to 2."""
    maps = [torch.zeros(1, 1, 20, 30), torch.zeros(1, 1, 20, 55)]
    assert true_strides(maps, (60, 100)) == (4, 2)
    assert true_strides([torch.zeros(1, 1, 30, 20)], (100, 60)) == (4,)
