"""Overlay pictures: colours where they belong, legends that name what occurs, files whole or
absent."""

import os

import cv2
import numpy as np
import pytest

from mmbsa.visualization.overlay import blend, legend, side_by_side, write_image

PALETTE = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
CLASSES = ('red', 'green', 'blue')


def test_blend_tints_by_label_and_greys_void():
    image = np.full((2, 2, 3), 100, np.uint8)
    out = blend(image, np.array([[0, 1], [2, 255]]), PALETTE, opacity=0.5)
    assert out.tolist() == [[[177, 50, 50], [50, 177, 50]], [[50, 50, 177], [50, 50, 50]]]
    assert np.array_equal(blend(image, np.zeros((2, 2), int), PALETTE, opacity=0.0), image)


def test_blend_refuses_two_sizes():
    with pytest.raises(ValueError, match='one size'):
        blend(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), int), PALETTE)


def test_legend_shows_present_classes_and_wraps():
    sheet = legend(CLASSES, PALETTE, [0, 2], 200)
    colours = {tuple(pixel) for pixel in sheet.reshape(-1, 3)}
    assert (255, 0, 0) in colours and (0, 0, 255) in colours and (0, 255, 0) not in colours
    assert sheet.shape[1] == 200
    assert legend(CLASSES, PALETTE, [0, 1, 2], 70).shape[0] > sheet.shape[0]


@pytest.mark.parametrize('size', [(64, 80), (300, 200)])
def test_side_by_side(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    truth, guess = np.zeros(size, int), np.ones(size, int)
    truth[0, 0] = 255
    one = side_by_side(image, {'prediction': guess}, CLASSES, PALETTE)
    two = side_by_side(image, {'ground truth': truth, 'prediction': guess}, CLASSES, PALETTE)
    assert two.dtype == np.uint8 and two.shape[0] == one.shape[0] >= 256
    assert two.shape[1] == one.shape[1] // 2 * 3 + 3  # panels and 6-pixel gaps between them
    panel = (two.shape[1] - 12) // 3
    first, last = (
        two[22 : 22 + max(size[0], 256), :panel],
        two[22 : 22 + max(size[0], 256), -panel:],
    )
    assert np.array_equal(first[-1, -1], image[-1, -1])
    assert np.array_equal(last[-1, -1], blend(image, guess, PALETTE)[-1, -1])
    assert side_by_side(image, {}, CLASSES, PALETTE).shape[1] == panel


def test_write_image_round_trip_and_atomic(tmp_path, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    path = tmp_path / 'new' / 'a.png'
    write_image(path, image)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)
    assert os.listdir(path.parent) == ['a.png'] and path.stat().st_mode & 0o400
    write_image(path, image[..., 0])
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image[..., 0])

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(path, np.zeros_like(image))
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image[..., 0])
    assert os.listdir(path.parent) == ['a.png'], 'no temporary file may stay'


def test_write_image_names_an_unknown_ending(tmp_path):
    with pytest.raises(ValueError, match='a.nothing'):
        write_image(tmp_path / 'a.nothing', np.zeros((2, 2, 3), np.uint8))
