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
    raise ValueError(
        f'the meta information of images must hold {SIZE_KEYS[0]}: use mmdet.DetDataPreprocessor'
    )


def true_strides(maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[int, ...]:
    """Image pixels per cell of every map, a power of two.

    A side of n pixels has ceil(n / stride) cells behind convolutions that round up; where no power
    of two explains both sides that way, the one nearest to the ratio of the longer side is taken.

    Args:
        maps: (..., H_i, W_i) each.
        size: (H, W) of the padded image.

    Raises:
        ValueError: a map that is larger than the image.
    """
    return tuple(_stride(tuple(x.shape[-2:]), size) for x in maps)


def _stride(cells: tuple[int, int], size: tuple[int, int]) -> int:
    if cells[0] > size[0] or cells[1] > size[1]:
        raise ValueError(f'a map of {cells} cells does not fit an image of {size} pixels')
    for stride in (2**power for power in range(max(size).bit_length() + 1)):
        if all(-(-pixels // stride) == number for pixels, number in zip(size, cells)):
            return stride
    axis = 0 if size[0] >= size[1] else 1
    return 2 ** round(log2(size[axis] / cells[axis]))


def check_time_major(maps: Sequence[Tensor], name: str) -> None:
    """Raise ValueError for maps without a time axis, which belong to stock heads."""
    for x in maps:
        if x.ndim != 5:
            raise ValueError(
                f'{name} reads maps (T, B, C, H, W), got {tuple(x.shape)}: a backbone with a '
                f'readout goes with '
                'a stock neck and stock heads, a backbone without one with the spiking ones'
            )
