"""The true strides of feature maps, measured from their sizes."""

from collections.abc import Mapping, Sequence
from math import log2

from torch import Tensor

#: keys of an image's meta information with the padded size of the batch, or the closest size to it.
SIZE_KEYS = ('batch_input_shape', 'pad_shape', 'img_shape')


def image_size(metas: Sequence[Mapping]) -> tuple[int, int]:
    """Return the height and width of the padded images of a batch, in pixels.

    Args:
        metas: meta information of the images.

    Raises:
        ValueError: the meta information has none of the keys ``SIZE_KEYS``.
    """
    for key in SIZE_KEYS:
        if metas and key in metas[0]:
            return tuple(int(side) for side in metas[0][key][:2])
    raise ValueError(
        f'the meta information of images must have {SIZE_KEYS[0]}: use mmdet.DetDataPreprocessor'
    )


def true_strides(maps: Sequence[Tensor], size: tuple[int, int]) -> tuple[int, ...]:
    """Return the stride of every map in image pixels, a power of two.

    A side of n pixels gives ceil(n / stride) cells. If this holds for both sides with no power of
    two, the stride is the power of two that is nearest to the ratio of the longer side.

    Args:
        maps: feature maps (..., H_i, W_i).
        size: height and width of the padded image in pixels.

    Raises:
        ValueError: a map is larger than the image.
    """
    return tuple(_stride(tuple(x.shape[-2:]), size) for x in maps)


def _stride(cells: tuple[int, int], size: tuple[int, int]) -> int:
    if cells[0] > size[0] or cells[1] > size[1]:
        raise ValueError(f'a map of {cells} cells is larger than an image of {size} pixels')
    for stride in (2**power for power in range(max(size).bit_length() + 1)):
        if all(-(-pixels // stride) == number for pixels, number in zip(size, cells)):
            return stride
    axis = 0 if size[0] >= size[1] else 1
    return 2 ** round(log2(size[axis] / cells[axis]))


def check_time_major(maps: Sequence[Tensor], name: str) -> None:
    """Raise ValueError if a map has no time axis, because only heads of mm packages support that.

    Args:
        maps: feature maps, which must be (T, B, C, H, W).
        name: name of the head, for the message.
    """
    for x in maps:
        if x.ndim != 5:
            raise ValueError(
                f'{name} needs maps (T, B, C, H, W), got {tuple(x.shape)}: remove '
                'backbone.readout, or use a neck and heads of mmdet'
            )
