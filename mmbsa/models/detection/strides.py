"""Where the cells of feature maps lie in the image: the strides that maps really have."""
from collections.abc import Mapping, Sequence
from math import log2

from torch import Tensor

#: keys of an image's meta information that hold the size of the batch, or what comes near it.
SIZE_KEYS = ('batch_input_shape', 'pad_shape', 'img_shape')


def image_size(metas: Sequence[Mapping]) -> tuple[int, int]:
    """(H, W) of the padded images of a batch.

    Raises:
        ValueError: the meta information holds no size.
    """
    for key in SIZE_KEYS:
        if metas and key in metas[0]:
            return tuple(int(side) for side in metas[0][key][:2])
    raise ValueError(f'the meta information of images must hold {SIZE_KEYS[0]}: use mmdet.DetDataPreprocessor')


def true_strides(maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[int, ...]:
    """Image pixels per cell of every map, a power of two.

    Sides that do not divide are rounded up by convolutions, which the power of two undoes; the longer side decides.

    Args:
        maps: (..., H_i, W_i) each.
        size: (H, W) of the padded image.

    Raises:
        ValueError: a map that is larger than the image.
    """
    axis = 0 if size[0] >= size[1] else 1
    sides = [x.shape[-2:][axis] for x in maps]
    if any(side > size[axis] for side in sides):
        raise ValueError(f'maps of {[tuple(x.shape[-2:]) for x in maps]} cells do not fit an image of {size} pixels')
    return tuple(2 ** round(log2(size[axis] / side)) for side in sides)


def check_time_major(maps: Sequence[Tensor], name: str) -> None:
    """Raise ValueError for maps without a time axis, which belong to stock heads."""
    for x in maps:
        if x.ndim != 5:
            raise ValueError(f'{name} reads maps (T, B, C, H, W), got {tuple(x.shape)}: a backbone with a readout goes with '
                             'a stock neck and stock heads, a backbone without one with the spiking ones')
