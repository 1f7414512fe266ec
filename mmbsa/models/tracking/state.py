"""What a tracker remembers between frames, and the geometry of one step. No network here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmbsa.structures import clip_box, crop_target, prediction_to_image


@dataclass(frozen=True)
class TrackState:
    """The state of one track: passed in, returned, never changed.

    Attributes:
        template: (T, 3, z, z) uint8, the target in the first frame.
        box: (4,) float64 x, y, w, h, where the target is.
    """

    template: Tensor
    box: np.ndarray


@dataclass(frozen=True)
class CropRules:
    """How crops are cut in testing.

    Attributes:
        template_size, search_size: sides of the crops in pixels.
        template_factor, search_factor: sides in sides of a square with the area of the box.
        margin: pixels of a box that stay inside the frame, and the least width and height.
        official_quirks: see :func:`mmbsa.structures.crop_target`.
    """

    template_size: int = 128
    search_size: int = 256
    template_factor: float = 2.0
    search_factor: float = 4.0
    margin: int = 10
    official_quirks: bool = False

    def __post_init__(self) -> None:
        for name in ('template_size', 'search_size', 'template_factor', 'search_factor'):
            if getattr(self, name) <= 0:
                raise ValueError(f'crops.{name} must be positive, got {getattr(self, name)}')


def cut(
    frame: np.ndarray, box: Sequence[float], factor: float, size: int, quirks: bool
) -> tuple[Tensor, float]:
    """Crops (T, 3, size, size) uint8 of a frame (T, H, W, 3), and the factor of their scaling."""
    crops = [crop_target(image, box, factor, size, official_quirks=quirks) for image in frame]
    stacked = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stacked)), crops[0].resize_factor


def start_track(frame: np.ndarray, box: Sequence[float], rules: CropRules) -> TrackState:
    """Begin a track.

    Args:
        frame: first frame (T, H, W, 3) uint8.
        box: (4,) x, y, w, h of the target in it.
        rules: of the crops.

    Raises:
        ValueError: a frame of another shape, a box without area, or one that lies outside of the
            frame.
    """
    if frame.ndim != 4 or frame.shape[-1] != 3:
        raise ValueError(f'a frame must be (T, H, W, 3), got {frame.shape}')
    x, y, w, h = box = np.asarray(box, np.float64).reshape(4)
    height, width = frame.shape[1:3]
    if not np.isfinite(box).all() or w <= 0 or h <= 0:
        raise ValueError(f'the first box {box.tolist()} (x, y, w, h) has no area')
    if x + w <= 0 or y + h <= 0 or x >= width or y >= height:
        raise ValueError(
            f'the first box {box.tolist()} (x, y, w, h) lies outside of the frame, which is '
            f'{width} x {height} pixels'
        )
    template, _ = cut(frame, box, rules.template_factor, rules.template_size, rules.official_quirks)
    return TrackState(template, box)


def search_crop(frame: np.ndarray, state: TrackState, rules: CropRules) -> tuple[Tensor, float]:
    """The crop around the last box: (T, 3, s, s) uint8, and its pixels per pixel of the frame."""
    return cut(frame, state.box, rules.search_factor, rules.search_size, rules.official_quirks)


def advance(
    state: TrackState,
    prediction: Sequence[float] | Tensor,
    resize_factor: float,
    size: Sequence[int],
    rules: CropRules,
) -> TrackState:
    """The state after a frame.

    Args:
        state: before it.
        prediction: (4,) cx, cy, w, h as parts of the search crop's side.
        resize_factor: from :func:`search_crop`.
        size: (height, width) of the frame.
        rules: of the crops.
    """
    box = prediction_to_image(prediction, state.box, resize_factor, rules.search_size)
    return replace(state, box=clip_box(box, size, rules.margin))
