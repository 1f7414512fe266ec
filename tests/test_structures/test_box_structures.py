"""Transforms of boxes against the official ones."""

import numpy as np
import pytest
import torch
import tracking_fixtures

from mmbsa.structures import (
    clip_box,
    corners,
    corners_from_centre,
    image_to_crop,
    jitter_box,
    prediction_to_image,
)

FIXTURES = tracking_fixtures.find('sdtrack_preproc', '.npz')
CLOSE = dict(rtol=1e-5, atol=1e-5)


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    return tracking_fixtures.load(request.param)


@pytest.mark.shared
def test_image_to_crop_equals_the_official_boxes(case):
    _, arrays = case
    sizes = [
        key.split('.')[1] for key in arrays if key.startswith('box2crop.') and key.endswith('.norm')
    ]
    assert sizes
    rows = zip(
        arrays['box2crop.box_in'], arrays['box2crop.box_extract'], arrays['box2crop.resize_factor']
    )
    for row, (box, around, factor) in enumerate(rows):
        for size in sizes:
            for normalize, ending in ((False, ''), (True, '.norm')):
                out = image_to_crop(box, around, factor, int(size), normalize)
                np.testing.assert_allclose(out, arrays[f'box2crop.{size}{ending}'][row], **CLOSE)


@pytest.mark.shared
def test_jitter_box_equals_the_official_boxes(case):
    meta, arrays = case
    for name in ('template', 'search'):
        factors = meta['jitter'][name]
        rows = zip(
            arrays['jitter.box'],
            arrays['jitter.randn'],
            arrays['jitter.rand'],
            arrays[f'jitter.{name}'],
        )
        for box, normal, uniform, expected in rows:
            out = jitter_box(box, normal, uniform, factors['center'], factors['scale'])
            np.testing.assert_allclose(out, expected, **CLOSE)


@pytest.mark.shared
def test_prediction_to_image_and_clipping_equal_the_official_boxes(case):
    meta, arrays = case
    rules = meta['mapback']
    names = ('state', 'pred_normalised', 'resize_factor', 'HW', 'box', 'clipped', 'saved_int')
    for row in zip(*(arrays[f'mapback.{name}'] for name in names)):
        state, prediction, factor, size, box, clipped, saved = row
        out = prediction_to_image(prediction, state, float(factor), rules['search_size'])
        np.testing.assert_allclose(out, box, **CLOSE)
        np.testing.assert_allclose(clip_box(out, size, rules['margin']), clipped, **CLOSE)
        np.testing.assert_array_equal(clip_box(out, size, rules['margin']).astype(int), saved)


def test_corners_from_both_forms():
    box = torch.tensor([[2.0, 3.0, 4.0, 6.0]])
    assert corners(box).tolist() == [[2, 3, 6, 9]]
    assert corners_from_centre(torch.tensor([[4.0, 6.0, 4.0, 6.0]])).tolist() == [[2, 3, 6, 9]]


def test_prediction_to_image_undoes_image_to_crop_up_to_the_crop_centre():
    around, box, side, out = (
        np.array([30.0, 40.0, 12.0, 10.0]),
        np.array([33.0, 38.0, 9.0, 14.0]),
        44,
        256,
    )
    factor = out / side
    x, y, w, h = image_to_crop(box, around, factor, out, normalize=True)
    back = prediction_to_image([x + w / 2, y + h / 2, w, h], around, factor, out)
    # the crop's centre is (out - 1) / 2 in one direction and out / 2 in the other, officially too
    np.testing.assert_allclose(
        back, [box[0] - 0.5 / factor, box[1] - 0.5 / factor, *box[2:]], rtol=1e-5
    )


def test_clip_box_keeps_a_margin_inside():
    assert clip_box((-50, -50, 20, 20), (100, 120)).tolist() == [0, 0, 10, 10]
    assert clip_box((500, 500, 20, 20), (100, 120)).tolist() == [110, 90, 10, 10]
    assert clip_box((5, 6, 20, 30), (100, 120)).tolist() == [5, 6, 20, 30]
