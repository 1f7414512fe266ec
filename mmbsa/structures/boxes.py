"""Boxes of tracking: (x, y, w, h) in pixels, if not stated otherwise.

(x, y) is the upper left corner.

The arithmetic is that of SDTrack's data processing (with float32 at the same places), so that
boxes agree up to rounding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """Convert (..., 4) x, y, w, h -> (..., 4) x1, y1, x2, y2."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def corners_from_centre(boxes: Tensor) -> Tensor:
    """Convert (..., 4) cx, cy, w, h -> (..., 4) x1, y1, x2, y2."""
    half = 0.5 * boxes[..., 2:]
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def usable_boxes(boxes: np.ndarray, size: Sequence[int] | None = None) -> np.ndarray:
    """Return (N,) bool: True for boxes from which a track can start.

    They are finite, have an area, and are not completely outside of the picture.

    Args:
        boxes: (N, 4) x, y, w, h in pixels.
        size: (height, width) of the picture in pixels; None (default) does not compare positions.
    """
    boxes = np.asarray(boxes, np.float64)
    usable = np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)
    if size is not None:
        usable &= (boxes[:, :2] + boxes[:, 2:] > 0).all(1)
        usable &= (boxes[:, :2] < np.array(size[::-1])).all(1)
    return usable


def jitter_box(
    box: np.ndarray, normal: np.ndarray, uniform: np.ndarray, centre: float, scale: float
) -> np.ndarray:
    r"""Move and scale a box at random.

    .. math:: s' = s\,e^{f_s n}, \quad c' = c + f_c \sqrt{w' h'}\,(u - 1/2)

    Args:
        box: (4,) x, y, w, h.
        normal: n, two standard normal numbers, for w and h.
        uniform: u, two numbers in [0, 1), for x and y.
        centre: f_c; 3 for search crops of SDTrack, 0 for templates.
        scale: f_s; 0.25 for search crops of SDTrack, 0 for templates.

    Returns:
        (4,) float32.
    """
    box, normal, uniform = (np.asarray(a, np.float32) for a in (box, normal, uniform))
    size = box[2:] * np.exp(normal * np.float32(scale))
    reach = np.sqrt(size[0] * size[1]) * np.float32(centre)
    middle = box[:2] + np.float32(0.5) * box[2:] + reach * (uniform - np.float32(0.5))
    return np.concatenate([middle - np.float32(0.5) * size, size])


def image_to_crop(
    box: np.ndarray,
    around: np.ndarray,
    resize_factor: float,
    out_size: int,
    normalize: bool = False,
) -> np.ndarray:
    """Convert a box of the picture to crop coordinates; the crop's centre is (out_size - 1) / 2.

    Args:
        box: (4,) x, y, w, h in the picture.
        around: (4,) x, y, w, h of the box around which the crop was taken.
        resize_factor: pixels of the crop per pixel of the picture.
        out_size: side of the crop in pixels.
        normalize: whether to divide by ``out_size``; False by default.

    Returns:
        (4,) float32.
    """
    box, around = np.asarray(box, np.float32), np.asarray(around, np.float32)
    factor, half = np.float32(resize_factor), np.float32(0.5)
    shift = box[:2] + half * box[2:] - (around[:2] + half * around[2:])
    size = box[2:] * factor
    out = np.concatenate([np.float32((out_size - 1) / 2) + shift * factor - half * size, size])
    return out / np.float32(out_size) if normalize else out


def prediction_to_image(
    prediction: Sequence[float] | Tensor,
    around: Sequence[float],
    resize_factor: float,
    out_size: int,
) -> np.ndarray:
    """Convert a predicted box of a search crop to picture coordinates.

    Args:
        prediction: (4,) cx, cy, w, h, as shares of the crop's side.
        around: (4,) x, y, w, h of the box around which the crop was taken.
        resize_factor: pixels of the crop per pixel of the picture.
        out_size: side of the crop in pixels.

    Returns:
        (4,) x, y, w, h, float64; the scaling is done in float32, as for the output of a network.
    """
    prediction = np.asarray(torch.as_tensor(prediction, dtype=torch.float32).cpu())
    scaled = prediction * np.float32(out_size) / np.float32(resize_factor)
    cx, cy, w, h = (float(value) for value in scaled)
    half_side = 0.5 * out_size / resize_factor
    x, y, width, height = (float(value) for value in around)
    cx += x + 0.5 * width - half_side
    cy += y + 0.5 * height - half_side
    return np.array([cx - 0.5 * w, cy - 0.5 * h, w, h])


def clip_box(box: Sequence[float], size: Sequence[int], margin: int = 10) -> np.ndarray:
    """Clip a box so that at least ``margin`` pixels are inside the picture and w, h >= ``margin``.

    Args:
        box: (4,) x, y, w, h.
        size: (height, width) of the picture in pixels.
        margin: smallest size inside the picture in pixels, 10 by default.

    Returns:
        (4,) float64.
    """
    height, width = size
    x1, y1, w, h = (float(value) for value in box)
    x2, y2 = x1 + w, y1 + h
    x1, x2 = min(max(0.0, x1), width - margin), min(max(margin, x2), width)
    y1, y2 = min(max(0.0, y1), height - margin), min(max(margin, y2), height)
    return np.array([x1, y1, max(margin, x2 - x1), max(margin, y2 - y1)], np.float64)
