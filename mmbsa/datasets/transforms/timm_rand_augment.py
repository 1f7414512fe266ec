"""timm's RandAugment, configured by the string of a recipe."""

import re
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms import str_to_pil_interp

from mmbsa.registry import TRANSFORMS

#: sections of a recipe's string that timm reads.
SECTION = re.compile(r'(m|n|inc|mmax)\d+|(mstd|p)\d+(\.\d*)?|t(weights|3aw?)')


def posterize(img: Image.Image, bits: int, **_) -> Image.Image:
    """Apply timm's operation also at 0 bits (full magnitude): the result is black.

    Older Pillow versions return black for 0 bits; newer ones raise an error.
    """
    return img.point([value & ~(2 ** (8 - bits) - 1) & 255 for value in range(256)] * 3)


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """RandAugment (Cubuk et al., 2020) as timm runs it in the official recipes.

    It draws from Python's and numpy's global generators, as timm does. Required and changed key:
    ``img``, (H, W, 3) of type uint8.

    Args:
        config: timm's string, such as ``'rand-m9-n1-mstd0.4-inc1'``: magnitude 9 of 10, one
            operation per picture (2 without ``n``), standard deviation 0.4 of the magnitude,
            operations whose effect increases with the magnitude.
        mean: R, G, B in 0..255, the rounded colour of pixels outside of the picture; ImageNet's
            mean by default. Use the mean of the data set, as timm does.
        interpolation: ``'bicubic'`` (default), ``'bilinear'``, or ``'random'`` (one of both for
            each picture).
        channel_order: channel order of ``img``: ``'bgr'`` (default, as LoadImageFromFile reads) or
            ``'rgb'``.

    Raises:
        ValueError: the string, interpolation or order is unknown, or ``img`` is not a colour
            picture of type uint8.
    """

    def __init__(
        self,
        config: str,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        interpolation: str = 'bicubic',
        channel_order: str = 'bgr',
    ) -> None:
        kind, *sections = config.split('-')
        wrong = [part for part in sections if not SECTION.fullmatch(part)]
        if kind != 'rand' or wrong:
            raise ValueError(
                "TimmRandAugment: config must be timm's string of RandAugment, such as "
                f"'rand-m9-n1-mstd0.4-inc1', got {config!r}"
                + (f' with {", ".join(wrong)}' if wrong else '')
            )
        if channel_order not in ('bgr', 'rgb'):
            raise ValueError(
                f"TimmRandAugment: channel_order must be 'bgr' or 'rgb', got {channel_order!r}"
            )
        if interpolation not in ('bicubic', 'bilinear', 'random'):
            raise ValueError(
                "TimmRandAugment: interpolation must be 'bicubic', 'bilinear' or 'random', got "
                f'{interpolation!r}'
            )
        self.config, self.channel_order = config, channel_order
        hparams = dict(img_mean=tuple(min(255, round(value)) for value in mean))
        if interpolation != 'random':
            hparams['interpolation'] = str_to_pil_interp(interpolation)
        self.augment = rand_augment_transform(config, hparams)
        for operation in self.augment.ops:
            if operation.name.startswith('Posterize'):
                operation.aug_fn = posterize

    def transform(self, results: dict) -> dict:
        """Change the picture; its size remains."""
        img = results['img']
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise ValueError(
                'TimmRandAugment: expected a picture (H, W, 3) of type uint8, got the shape '
                f'{img.shape} of type {img.dtype}'
            )
        turn = slice(None, None, -1 if self.channel_order == 'bgr' else 1)
        picture = self.augment(Image.fromarray(np.ascontiguousarray(img[..., turn])))
        # a copy: the pixels of a PIL picture are read-only, and later steps write to them
        results['img'] = np.array(np.asarray(picture)[..., turn], order='C')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(config={self.config!r}, channel_order={self.channel_order!r})'
        )
