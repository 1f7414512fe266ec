"""timm's RandAugment inside an mm pipeline."""

import random

import numpy as np
import pytest
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform

from mmbsa.datasets.transforms import TimmRandAugment
from mmbsa.datasets.transforms.timm_rand_augment import posterize
from mmbsa.registry import TRANSFORMS

RECIPES = [
    'rand-m9-n1-mstd0.4-inc1',
    'rand-m9-n3-mstd0.5-inc1',
    'rand-m7-mstd0.5-inc1',
    'rand-m5-mstd0.5',
    'rand-m15-mmax20-p0.9-tweights',
]


def photo(side=32):
    """Smooth colours, different in every channel."""
    y, x = np.mgrid[:side, :side] / side
    rgb = np.stack([255 * x, 255 * y, 60 + 100 * x * y], -1) + np.random.default_rng(0).normal(
        0, 8, (side, side, 3)
    )
    return rgb.clip(0, 255).astype(np.uint8)


def seed(value):
    random.seed(value)
    np.random.seed(value)


def posterize_of_older_pillow(image, bits):
    """ImageOps.posterize before it refused 0 bits, at which timm's operation arrives."""
    mask = ~(2 ** (8 - bits) - 1)
    return image.point([i & mask for i in range(256)] * 3)


@pytest.mark.parametrize('order', ['bgr', 'rgb'])
@pytest.mark.parametrize('config', RECIPES)
def test_timm_rand_augment_equals_timm(config, order, monkeypatch):
    mean = (125.307, 122.961, 113.8575)
    ours = TRANSFORMS.build(
        dict(type='TimmRandAugment', config=config, mean=mean, channel_order=order)
    )
    hparams = dict(img_mean=(125, 123, 114), interpolation=Image.BICUBIC)
    official = rand_augment_transform(config, hparams)
    rgb, changed = photo(), 0
    for number in range(40):
        seed(number)
        with monkeypatch.context() as patch:  # Pillow of the official trainings
            patch.setattr('PIL.ImageOps.posterize', posterize_of_older_pillow)
            expected = np.asarray(official(Image.fromarray(rgb)))
        seed(number)
        img = rgb if order == 'rgb' else rgb[..., ::-1]
        result = ours(dict(img=img))['img']
        assert result.dtype == np.uint8 and result.flags['C_CONTIGUOUS']
        assert np.array_equal(result if order == 'rgb' else result[..., ::-1], expected)
        changed += not np.array_equal(expected, rgb)
    assert changed > 10


def test_timm_rand_augment_equals_the_training_transform_of_timm():
    """timm's whole training pipeline hands over the same colours and interpolation."""
    timm_pipeline = create_transform(
        32,
        is_training=True,
        auto_augment=RECIPES[0],
        interpolation='bicubic',
        scale=(1, 1),
        ratio=(1, 1),
        hflip=0.0,
        mean=(0.4914, 0.4822, 0.4465),
    )
    (official,) = (step for step in timm_pipeline.transforms if hasattr(step, 'ops'))
    ours = TimmRandAugment(RECIPES[0], mean=[255 * x for x in (0.4914, 0.4822, 0.4465)])
    for one, other in zip(official.ops, ours.augment.ops, strict=True):
        assert (one.name, one.prob, one.magnitude, one.magnitude_std) == (
            other.name,
            other.prob,
            other.magnitude,
            other.magnitude_std,
        )
        assert one.kwargs == other.kwargs


@pytest.mark.parametrize('bits', range(9))
def test_posterize_is_that_of_pillow_and_black_without_bits(bits):
    image = Image.fromarray(photo())
    expected = ImageOps.posterize(image, bits) if bits else Image.new('RGB', image.size)
    assert np.array_equal(posterize(image, bits), expected)


def test_timm_rand_augment_leaves_the_input_alone():
    img = photo()[..., ::-1]
    before = img.copy()
    for number in range(10):
        seed(number)
        TimmRandAugment(RECIPES[1])(dict(img=img))
    assert np.array_equal(img, before)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(config='augmix-m5'), "such as 'rand-m9-n1-mstd0.4-inc1', got 'augmix-m5'"),
        (dict(config='rand-m9-x3'), "got 'rand-m9-x3' with x3"),
        (dict(config='rand-m9-tother'), 'with tother'),
        (dict(config='rand-m9', channel_order='gbr'), "must be 'bgr' or 'rgb', got 'gbr'"),
        (dict(config='rand-m9', interpolation='area'), "'random', got 'area'"),
    ],
)
def test_timm_rand_augment_refuses_what_timm_cannot_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmRandAugment(**arguments)


@pytest.mark.parametrize(
    'img', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), 'u1')]
)
def test_timm_rand_augment_refuses_other_pictures(img):
    with pytest.raises(ValueError, match=r'expected a picture \(H, W, 3\) of type uint8'):
        TimmRandAugment('rand-m9')(dict(img=img))
