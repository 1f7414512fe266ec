"""Count frames (T, P, H, W) of events, P = 2: off, on; and augmentations of frames."""

import numpy as np
from numpy.typing import ArrayLike

from mmbsa.events.array import check_size, ordered_columns
from mmbsa.events.geometry import middle
from mmbsa.events.slicing import frame_edges

#: largest number of elements of an array, 16 GiB of int64
MAX_NUMBERS = 2**31


def check_volume(shape: tuple[int, ...], what: str) -> None:
    """Raise ValueError if an array of ``shape`` has more than ``MAX_NUMBERS`` elements.

    Args:
        shape: shape of the array.
        what: name of the array, for the message.
    """
    numbers = 1
    for length in shape:
        numbers *= int(length)
    if numbers > MAX_NUMBERS:
        raise ValueError(
            f'{what} would be an array of the shape {shape}, {numbers} numbers; '
            f'expected at most {MAX_NUMBERS}'
        )


def integrate(
    events: np.ndarray,
    size: tuple[int, int],
    by: str = 'number',
    num_frames: int | None = None,
    duration: int | None = None,
    timestamps: ArrayLike | None = None,
) -> np.ndarray:
    """Count events per frame, polarity and pixel.

    Args:
        events: (N,) with the fields x, y, t, p, in any order.
        size: (height, width) of the sensor in pixels.
        by: rule that assigns events to frames, ``'number'`` by default, see :func:`frame_index`.
        num_frames: number of frames, for ``'number'`` and ``'time'``.
        duration: length of a frame in microseconds, for ``'duration'``.
        timestamps: the K + 1 borders of K frames in microseconds, for ``'timestamps'``.

    Returns:
        Counts (T, 2, H, W), int64; polarity 0 is off and 1 is on. Events before the first or after
        the last of ``timestamps`` are not counted.

    Raises:
        ValueError: events are outside of the sensor or invalid as in :func:`as_events`, the rule or
            its argument is invalid, or the frames have more than ``MAX_NUMBERS`` elements.
    """
    pixel, t, p = ordered_columns(events, size)
    edges = frame_edges(t, by, num_frames, duration, timestamps)
    height, width = check_size(size)
    shape = (len(edges) - 1, 2, height, width)
    check_volume(shape, f'frames by {by}')
    pixels = height * width
    counts = np.empty((len(edges) - 1, 2 * pixels), np.int64)
    for frame, (start, stop) in enumerate(zip(edges[:-1], edges[1:])):
        place = np.multiply(p[start:stop], pixels, dtype=np.int64)
        place += pixel[start:stop]
        counts[frame] = np.bincount(place, minlength=2 * pixels)
    return counts.reshape(shape)


def _check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4:
        raise ValueError(f'frames must be (T, P, H, W), got the shape {frames.shape}')


def flip_frames(frames: np.ndarray, direction: str = 'horizontal') -> np.ndarray:
    """Mirror frames (T, P, H, W); ``'time'`` also swaps the polarities, as :func:`flip` does.

    Args:
        frames: (T, P, H, W).
        direction: ``'horizontal'`` (default), ``'vertical'`` or ``'time'``.
    """
    _check_frames(frames)
    views = dict(
        horizontal=frames[..., ::-1], vertical=frames[..., ::-1, :], time=frames[::-1, ::-1]
    )
    if direction not in views:
        raise ValueError(f'direction must be one of {tuple(views)}, got {direction!r}')
    return np.ascontiguousarray(views[direction])


def roll_frames(frames: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """Shift frames (T, P, H, W) by whole pixels x and y, with wrap-around at the border."""
    _check_frames(frames)
    return np.roll(frames, (y, x), (-2, -1))


def warp_frames(
    frames: np.ndarray,
    matrix: np.ndarray,
    shift: tuple[float, float] = (0.0, 0.0),
    interpolation: str = 'nearest',
) -> np.ndarray:
    """Map frames by ``matrix`` around their centre, then shift them; pixels from outside are 0.

    Args:
        frames: (T, P, H, W).
        matrix: 2 x 2, invertible, acts on (x, y), see ``mmbsa.events.rotation`` and ``shearing``.
        shift: (x, y) in pixels, (0, 0) by default.
        interpolation: ``'nearest'`` (default) keeps the dtype, ``'bilinear'`` returns floats.

    Returns:
        (T, P, H, W).
    """
    _check_frames(frames)
    height, width = frames.shape[-2:]
    centre = middle((height, width))
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([columns, rows]).reshape(2, -1) - centre[:, None] - np.reshape(shift, (2, 1))
    x, y = np.linalg.inv(matrix) @ points + centre[:, None]
    if interpolation == 'nearest':
        return _gather(frames, np.floor(x + 0.5), np.floor(y + 0.5)).reshape(frames.shape)
    if interpolation != 'bilinear':
        raise ValueError(f"interpolation must be 'nearest' or 'bilinear', got {interpolation!r}")
    left, top = np.floor(x), np.floor(y)
    right_share, low_share = (x - left).astype(np.float32), (y - top).astype(np.float32)
    out = (
        _gather(frames, left, top) * ((1 - right_share) * (1 - low_share))
        + _gather(frames, left + 1, top) * (right_share * (1 - low_share))
        + _gather(frames, left, top + 1) * ((1 - right_share) * low_share)
        + _gather(frames, left + 1, top + 1) * (right_share * low_share)
    )
    return out.reshape(frames.shape)


def _gather(frames: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = frames.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = np.where(inside, y * width + x, 0).astype(np.int64)
    return frames.reshape(*frames.shape[:2], -1)[..., place] * inside.astype(frames.dtype)


def cutout_frames(frames: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return frames (T, P, H, W) that are 0 in the box with its upper left pixel at (x, y).

    Args:
        frames: (T, P, H, W).
        x, y: upper left pixel of the box.
        width, height: size of the box in pixels.
    """
    _check_frames(frames)
    out = frames.copy()
    out[..., max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = 0
    return out
