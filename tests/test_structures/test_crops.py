"""Crops, masks and windows against the official ones, and their rules without fixtures."""

import numpy as np
import pytest
import torch
import tracking_fixtures

from mmbsa.structures import crop_side, crop_target, hann_window, hidden_at_stride

FIXTURES = tracking_fixtures.find('sdtrack_preproc', '.npz')


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    return tracking_fixtures.load(request.param)


@pytest.mark.shared
def test_crop_equals_the_official_bytes(case):
    meta, arrays = case
    for number, entry in enumerate(meta['crops']):
        image = arrays[f'image.{entry["image"]}']
        mask = arrays[f'mask.{entry["image"]}'] if entry['mask'] else None
        crop = crop_target(image, entry['box'], entry['factor'], entry['out'], mask, True)
        key = f'crop.{number:02d}'
        assert crop.resize_factor == entry['resize_factor']
        assert crop_side(entry['box'], entry['factor']) == entry['crop_side']
        np.testing.assert_array_equal(crop.image, arrays[f'{key}.image'])
        np.testing.assert_array_equal(crop.outside, arrays[f'{key}.att_mask'].astype(bool))
        if entry['mask']:
            np.testing.assert_array_equal(crop.mask, arrays[f'{key}.mask'])


@pytest.mark.shared
def test_crop_outside_of_the_picture_equals_the_official_bytes(case):
    meta, arrays = case
    judged = 0
    for number, entry in enumerate(meta['crop_outside']):
        image = arrays[f'image.{entry.get("image", "dense")}']
        if entry['raises']:
            with pytest.raises(ValueError, match='no area'):
                crop_target(image, entry['box'], 2.0, 32, official_quirks=True)
            continue
        crop = crop_target(image, entry['box'], 2.0, 32, official_quirks=True)
        np.testing.assert_array_equal(crop.image, arrays[f'outside.{number}.image'])
        np.testing.assert_array_equal(crop.outside, arrays[f'outside.{number}.att_mask'])
        assert crop.outside.all() == entry['mask_all_ones']
        assert crop.image.any() == entry['any_nonzero_pixel']
        judged += 1
    assert judged


@pytest.mark.shared
def test_crop_without_resizing_equals_the_official_bytes(case):
    meta, arrays = case
    entry = meta['crop_noresize']
    crop = crop_target(
        arrays[f'image.{entry["image"]}'], entry['box'], entry['factor'], None, official_quirks=True
    )
    assert crop.resize_factor == 1
    np.testing.assert_array_equal(crop.image, arrays['crop_noresize.image'])
    np.testing.assert_array_equal(crop.outside, arrays['crop_noresize.att_mask'])


@pytest.mark.shared
def test_hann_window_equals_the_official_one(case):
    _, arrays = case
    sizes = [
        key.split('.')[1] for key in arrays if key.startswith('hann1d.') and key.count('.') == 1
    ]
    assert sizes
    for size in sizes:
        for centred, ending in ((True, ''), (False, '.uncentred')):
            expected = torch.from_numpy(arrays[f'hann1d.{size}{ending}'])
            torch.testing.assert_close(hann_window(int(size), centred), expected, rtol=0, atol=1e-6)
    for key in (key for key in arrays if key.startswith('hann2d.')):
        window = hann_window(int(key.split('.')[1]))
        torch.testing.assert_close(
            window[:, None] * window, torch.from_numpy(arrays[key]), rtol=0, atol=1e-6
        )


def picture(height=30, width=40):
    return np.arange(1, height * width + 1).reshape(height, width, 1).astype(np.float32)


def test_crop_keeps_the_last_column_unless_asked_for_the_official_mistake():
    image, box = picture(), (24, 7, 16, 16)  # the crop ends exactly at the last column
    ours = crop_target(image, box, 1.0, None)
    np.testing.assert_array_equal(ours.image, image[7:23, 24:40])
    assert not ours.outside.any()
    official = crop_target(image, box, 1.0, None, official_quirks=True)
    np.testing.assert_array_equal(official.image[:, :-1], image[7:23, 24:39])
    assert not official.image[:, -1].any() and official.outside[:, -1].all()


@pytest.mark.parametrize('box', [(-60, 5, 8, 8), (5, -60, 8, 8), (90, 5, 8, 8), (5, 90, 8, 8)])
def test_crop_wholly_outside_is_empty(box):
    crop = crop_target(picture(), box, 2.0, 16)
    assert crop.image.shape[:2] == (16, 16) and not crop.image.any() and crop.outside.all()
    assert hidden_at_stride(crop.outside)


def test_crop_shows_every_pixel_inside_and_zeros_outside():
    image = picture()
    crop = crop_target(image, (-3, -2, 10, 10), 2.0, None)
    assert crop.image.shape[:2] == (20, 20)
    np.testing.assert_array_equal(crop.image[7:, 8:], image[:13, :12])
    assert crop.outside[:7].all() and crop.outside[:, :8].all() and not crop.outside[7:, 8:].any()


@pytest.mark.parametrize('box', [(1, 1, 0, 5), (1, 1, -2, 4), (1, 1, float('nan'), 4)])
def test_crop_refuses_a_box_without_area(box):
    with pytest.raises(ValueError, match='no area'):
        crop_target(picture(), box, 2.0, 16)
