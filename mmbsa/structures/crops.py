"""Square crops around a target, as in SDTrack (and OSTrack before it)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Crop:
    """A square part of a picture.

    Attributes:
        image: (out, out, C) with the dtype of the picture; zeros outside of the picture.
        resize_factor: pixels of the crop per pixel of the picture.
        outside: (out, out) bool, True where a source pixel is outside of the picture.
        mask: (out, out) float32, the crop of a mask of the target, or None.
    """

    image: np.ndarray
    resize_factor: float
    outside: np.ndarray
    mask: np.ndarray | None = None


def crop_side(box: Sequence[float], factor: float) -> int:
    """Return the side of the square around a box in pixels of the picture, ceil(sqrt(w h) factor).

    Raises:
        ValueError: the box has no area, so its crop would be empty.
    """
    width, height = float(box[2]), float(box[3])
    # NaN fails every comparison, so it raises here too
    side = math.ceil(math.sqrt(width * height) * factor) if width * height >= 0 else 0
    if side < 1:
        raise ValueError(
            f'the box {[float(v) for v in box]} (x, y, w, h) has no area, so there is '
            'no crop around it'
        )
    return side


def crop_target(
    image: np.ndarray,
    box: Sequence[float],
    factor: float,
    out_size: int | None,
    mask: np.ndarray | None = None,
    official_quirks: bool = False,
) -> Crop:
    """Crop the square of side ceil(sqrt(w h) factor) around a box and scale it bilinearly.

    Args:
        image: picture (H, W, C).
        box: (4,) x, y, w, h.
        factor: side of the square relative to the side of a square with the area of the box.
        out_size: side of the crop in pixels; None does not scale it.
        mask: mask (H, W) of the target that is cropped in the same way; None (default) for no mask.
        official_quirks: whether to reproduce the mistakes of the official code, with which
            published weights were trained: a crop that reaches the last column or row of the
            picture, or beyond, loses that column or row, and a crop completely left of the picture
            or above it has wrong content. False by default.

    Raises:
        ValueError: the box has no area.
    """
    side = crop_side(box, factor)
    x, y, w, h = (float(value) for value in box)
    height, width = image.shape[:2]
    left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
    spans = [
        _span(start, side, length, official_quirks)
        for start, length in ((top, height), (left, width))
    ]
    (rows, above, below), (columns, before, behind) = spans
    pads = ((above, below), (before, behind))
    patch = _pad(image[rows, columns], pads)
    outside = _pad(np.zeros(image[rows, columns].shape[:2], np.float64), pads, 1.0)
    cut = None if mask is None else _pad(np.asarray(mask[rows, columns], np.float32), pads)
    if out_size is None:
        return Crop(patch, 1.0, outside.astype(bool), cut)
    size = (out_size, out_size)
    if cut is not None:
        cut = interpolate(
            torch.from_numpy(cut)[None, None], size, mode='bilinear', align_corners=False
        )[0, 0].numpy()
    return Crop(
        cv2.resize(patch, size), out_size / side, cv2.resize(outside, size).astype(bool), cut
    )


def _span(start: int, side: int, length: int, quirks: bool) -> tuple[slice, int, int]:
    """Return the part of an axis of ``length`` in a crop, and the padding before and after it."""
    stop = start + side
    front, back = max(0, -start), max(stop - length + (1 if quirks else 0), 0)
    if quirks:
        return slice(start + front, stop - back), front, back  # the stop may be negative
    if stop <= 0 or start >= length:
        return slice(0, 0), side, 0
    return slice(start + front, stop - back), front, back


def _pad(array: np.ndarray, pads: Sequence[tuple[int, int]], value: float = 0) -> np.ndarray:
    pads = (*pads, *[(0, 0)] * (array.ndim - 2))
    return np.ascontiguousarray(np.pad(array, pads, constant_values=value))


def hidden_at_stride(outside: np.ndarray, stride: int = 16) -> bool:
    """Return whether a crop contains no part of the picture at the resolution of the features.

    Such a crop is not a training sample (SDTrack's stricter rule, which implies the plain one).

    Args:
        outside: (H, W) bool, True outside of the picture.
        stride: stride of the features in pixels, 16 by default.
    """
    size = outside.shape[0] // stride
    reduced = interpolate(torch.from_numpy(outside)[None, None].float(), size=size)
    return bool(reduced.bool().all())


def hann_window(size: int, centred: bool = True) -> Tensor:
    """Return a raised cosine of ``size`` numbers, float32, for the outer product with itself.

    Args:
        size: length.
        centred: True (default) has the peak in the middle, 0.5 (1 - cos(2 pi k / (size + 1))),
            k = 1..size; otherwise the peak is at 0 and decreases to both sides of a cyclic axis.
    """
    if centred:
        return 0.5 * (1 - torch.cos((2 * math.pi / (size + 1)) * torch.arange(1, size + 1).float()))
    half = 0.5 * (1 + torch.cos((2 * math.pi / (size + 2)) * torch.arange(size // 2 + 1).float()))
    return torch.cat([half, half[1 : size - size // 2].flip(0)])
