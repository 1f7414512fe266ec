"""The state of a tracker between frames, and the geometry of one step, without the network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmbsa.structures import clip_box, crop_target, prediction_to_image


@dataclass(frozen=True)
class TrackState:
    """The state of one track; it is immutable.

    Attributes:
        template: crop (T, 3, z, z), uint8, of the target in the first frame.
        box: present box (4,) x, y, w, h of the target in pixels, float64.
    """

    template: Tensor
    box: np.ndarray


@dataclass(frozen=True)
class CropRules:
    """Settings of the crops in testing.

    Attributes:
        template_size: side of the template crop in pixels.
        search_size: side of the search crop in pixels.
        template_factor: side of the template crop, divided by the side of a square with the area of
            the box.
        search_factor: side of the search crop, divided by the side of a square with the area of the
            box.
        margin: smallest part of a box inside of the frame, and smallest width and height, in
            pixels.
        official_quirks: whether to reproduce the official code, see
            :func:`mmbsa.structures.crop_target`.
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
    """Return a crop (T, 3, size, size), uint8, of a frame, and its scale in crop pixels per frame
    pixel.

    Args:
        frame: frame (T, H, W, 3), uint8.
        box: box x, y, w, h in pixels, at the centre of the crop.
        factor: side of the crop, divided by the side of a square with the area of the box.
        size: side of the crop in pixels.
        quirks: whether to reproduce the official code, see :func:`mmbsa.structures.crop_target`.
    """
    crops = [crop_target(image, box, factor, size, official_quirks=quirks) for image in frame]
    stacked = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stacked)), crops[0].resize_factor


def start_track(frame: np.ndarray, box: Sequence[float], rules: CropRules) -> TrackState:
    """Start a track, and return its state.

    Args:
        frame: first frame (T, H, W, 3), uint8.
        box: box (4,) x, y, w, h of the target in this frame, in pixels.
        rules: settings of the crops.

    Raises:
        ValueError: the frame has another shape, or the box has no area or is outside of the frame.
    """
    if frame.ndim != 4 or frame.shape[-1] != 3:
        raise ValueError(f'a frame must be (T, H, W, 3), got {frame.shape}')
    x, y, w, h = box = np.asarray(box, np.float64).reshape(4)
    height, width = frame.shape[1:3]
    if not np.isfinite(box).all() or w <= 0 or h <= 0:
        raise ValueError(f'the first box {box.tolist()} (x, y, w, h) has no area')
    if x + w <= 0 or y + h <= 0 or x >= width or y >= height:
        raise ValueError(
            f'the first box {box.tolist()} (x, y, w, h) is outside of the frame, which has '
            f'{width} x {height} pixels'
        )
    template, _ = cut(frame, box, rules.template_factor, rules.template_size, rules.official_quirks)
    return TrackState(template, box)


def search_crop(frame: np.ndarray, state: TrackState, rules: CropRules) -> tuple[Tensor, float]:
    """Return the crop (T, 3, s, s), uint8, around the last box, and its scale in crop pixels per
    frame pixel.

    Args:
        frame: the next frame (T, H, W, 3), uint8.
        state: the state of the track.
        rules: settings of the crops.
    """
    return cut(frame, state.box, rules.search_factor, rules.search_size, rules.official_quirks)


def advance(
    state: TrackState,
    prediction: Sequence[float] | Tensor,
    resize_factor: float,
    size: Sequence[int],
    rules: CropRules,
) -> TrackState:
    """Return the state of a track after a frame.

    Args:
        state: the state before the frame.
        prediction: predicted box (4,) cx, cy, w, h as fractions of the search crop's side.
        resize_factor: scale of the crop, from :func:`search_crop`.
        size: height and width of the frame in pixels.
        rules: settings of the crops.
    """
    box = prediction_to_image(prediction, state.box, resize_factor, rules.search_size)
    return replace(state, box=clip_box(box, size, rules.margin))
