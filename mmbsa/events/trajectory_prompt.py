"""Global Trajectory Prompt: the event picture of SDTrack (arXiv 2503.08703, section 3.2)."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from mmbsa.events.array import (
    EVENT_DTYPE,
    as_events,
    check_inside,
    check_size,
    ordered_columns,
    outside,
)
from mmbsa.events.frames import check_volume
from mmbsa.events.slicing import check_timestamps, iter_windows, split_windows, time_order


def trajectory_prompt(
    events: np.ndarray,
    size: tuple[int, int],
    timestamps: ArrayLike,
    num_steps: int = 1,
    *,
    amount: float = 30.0,
    trajectory_amount: float = 30.0,
    decay: float = 0.8,
    official_quirks: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the events of each window as counts of both polarities and a decaying trajectory.

    Window k has the events with timestamps[k] <= t < timestamps[k + 1] and is divided into
    ``num_steps`` parts of equal length. For part i with h1 = amount * (on events) and
    h2 = amount * (off events) per pixel, both clipped at 255, the third channel is
    h3_i = decay * h3_(i-1) + trajectory_amount * sum over j = 1, 2 of [h^j_(i-1) = 0 and h^j_i !=
    0], clipped at 255. h3 is a float, is 0 in the very first part, and is truncated in the picture.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.
        timestamps: the K + 1 borders of K windows in microseconds (the start times of the frames of
            a DAVIS camera).
        num_steps: number of parts T per window, 1 by default.
        amount: value added to a pixel of h1 or h2 per event, 30 by default.
        trajectory_amount: value added to a pixel of h3 per polarity that begins there, 30 by
            default.
        decay: factor of h3 from part to part, 0.8 by default.
        official_quirks: whether to assign events to windows as the official script does; False by
            default. Events in row 0, in column 0 or outside of the sensor are then dropped. The
            event that closes a window is dropped, and each event closes at most one window or one
            part, so every empty window drops one later event, and parts of sparse windows are never
            written.

    Returns:
        Pictures (K, T, 3, H, W) uint8 with the channels on, off, trajectory; and which of them are
        written, (K, T) bool: all, unless ``official_quirks``. A picture that is not written is 0.

    Raises:
        ValueError: without quirks, events are outside of the sensor; with quirks, events are out of
            order; timestamps do not increase; or ``num_steps`` is below 1.
    """
    height, width = check_size(size)
    borders = check_timestamps(timestamps)
    split_windows(borders, num_steps)  # checks num_steps
    shape = (len(borders) - 1, num_steps, 3, height, width)
    check_volume(shape, 'the trajectory prompt')
    pictures, written = np.zeros(shape, np.uint8), np.zeros(shape[:2], bool)
    for window, part, picture in iter_trajectory_prompt(
        as_events(events),
        size,
        borders,
        num_steps,
        amount=amount,
        trajectory_amount=trajectory_amount,
        decay=decay,
        official_quirks=official_quirks,
    ):
        pictures[window, part], written[window, part] = picture, True
    return pictures, written


def iter_trajectory_prompt(
    events: np.ndarray | Iterable[np.ndarray],
    size: tuple[int, int],
    timestamps: ArrayLike,
    num_steps: int = 1,
    *,
    amount: float = 30.0,
    trajectory_amount: float = 30.0,
    decay: float = 0.8,
    official_quirks: bool = False,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the pictures of :func:`trajectory_prompt` one after the other.

    Use it for recordings whose pictures do not fit into memory: one picture is in memory at a time.

    Args:
        events: (N,), or a stream of such arrays in the order of time, for example from
            ``mmbsa.events.iter_events``. A stream is read to its end, with the events of one part
            in memory at a time; ``official_quirks`` needs all events in memory.
        size, timestamps, num_steps, amount, trajectory_amount, decay, official_quirks: as in
            :func:`trajectory_prompt`.

    Yields:
        The window k, its part i (both from 0) and the picture, (3, H, W) uint8. Pictures that are
        not written are left out.

    Raises:
        ValueError: as in :func:`trajectory_prompt`; or events of a stream are out of order.
    """
    borders = check_timestamps(timestamps)
    parts = split_windows(borders, num_steps)
    if official_quirks and not isinstance(events, np.ndarray):
        events = np.concatenate([*events, np.zeros(0, EVENT_DTYPE)])
    if isinstance(events, np.ndarray):
        steps, written = _divide(as_events(events), size, borders, parts, official_quirks)
        rest: Iterator[np.ndarray] = iter(())
    else:
        rest = iter(events)
        steps, written = iter_windows(rest, timestamps=parts), np.arange(len(parts) - 1)
    single = official_quirks and len(written) == 1
    if single:  # the official script updates the trajectory of its last picture in any case
        steps = itertools.chain([np.zeros(0, EVENT_DTYPE)], steps)
    pictures = draw_trajectory(steps, size, amount, trajectory_amount, decay)
    if single:
        next(pictures)
    for index, picture in zip(written.tolist(), pictures):
        yield index // num_steps, index % num_steps, picture
    for _ in rest:  # a fault after the last window is an error too
        pass


def _divide(
    events: np.ndarray, size: tuple[int, int], borders: np.ndarray, parts: np.ndarray, quirks: bool
) -> tuple[Iterator[np.ndarray], np.ndarray]:
    """Return the events of each written part, and the numbers of these parts."""
    order = time_order(np.ascontiguousarray(events['t']))
    if quirks:
        if order is not None:
            raise ValueError('official_quirks=True needs events in the order of time')
        part, there = _official_parts(events['t'], borders, parts)
        kept = (part >= 0) & ~outside(events, size) & (events['x'] > 0) & (events['y'] > 0)
        events, part = events[kept], part[kept]  # parts increase with the events
        edges = np.searchsorted(part, np.arange(len(there) + 1))
        written = np.flatnonzero(there)
    else:
        check_inside(events, size)
        events = events if order is None else events[order]
        edges = np.searchsorted(np.ascontiguousarray(events['t']), parts)
        written = np.arange(len(edges) - 1)
    return (events[edges[index] : edges[index + 1]] for index in written), written


def draw_trajectory(
    steps: Iterable[np.ndarray],
    size: tuple[int, int],
    amount: float = 30.0,
    trajectory_amount: float = 30.0,
    decay: float = 0.8,
) -> Iterator[np.ndarray]:
    """Yield one picture (3, H, W) uint8 per part from a stream of parts of a recording.

    The generator keeps only the state of the recursion, see :func:`trajectory_prompt`, so it also
    processes very long and growing recordings: ``iter_windows(iter_events(path),
    timestamps=split_windows(timestamps, num_steps))`` gives the parts.

    Args:
        steps: events of each part, (M,).
        size: (height, width) of the sensor in pixels.
        amount, trajectory_amount, decay: as in :func:`trajectory_prompt`.
    """
    height, width = check_size(size)
    trajectory = np.zeros((height, width))
    before: np.ndarray | None = None
    for events in steps:
        pixel, _, p = ordered_columns(events, size)
        place = np.multiply(1 - p, height * width, dtype=np.int64) + pixel
        counts = np.bincount(place, minlength=2 * height * width)
        counts = np.minimum(counts.reshape(2, height, width) * amount, 255.0)
        if before is not None:
            begun = ((before == 0) & (counts != 0)).sum(0)
            trajectory = np.clip(trajectory * decay + trajectory_amount * begun, 0.0, 255.0)
        before = counts
        yield np.concatenate([counts, trajectory[None]]).astype(np.uint8)


def _official_parts(
    t: np.ndarray, borders: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the result of the official loop over the events without a loop.

    The event that closes window k is the first one at or after the window's end that follows the
    event that closed window k - 1: closes[k] = max(closes[k - 1] + 1, first[k]), a running maximum
    of first[k] - k. Parts of a window are closed by the same rule.

    Returns:
        The part of every event, (N,) int64, -1 for a dropped event; the written parts, (K * T,).
    """
    windows, numbers = len(borders) - 1, np.arange(len(t))
    num_steps = (len(ends) - 1) // windows
    rank = np.arange(windows)
    started = np.searchsorted(t, borders[0])
    first = np.searchsorted(t, borders[1:])
    closes = np.minimum(np.maximum.accumulate(first - rank) + rank, len(t))
    begins = np.append(started, closes[:-1] + 1)
    window = np.searchsorted(closes, numbers)
    dropped = (numbers < started) | (window == windows)
    dropped[closes[closes < len(t)]] = True
    window = np.minimum(window, windows - 1)
    part = np.zeros(len(t), np.int64)
    last_part, previous = np.zeros(windows, np.int64), begins - 1
    for step in range(1, num_steps):
        begin = np.searchsorted(t, ends[step:-1:num_steps])
        previous = np.maximum(previous + 1, begin)
        part += numbers >= previous[window]
        last_part += previous < closes
    reached = np.append(-1, closes[:-1]) < len(t)  # the last window is written up to its last part
    written = reached[:, None] & (np.arange(num_steps) <= last_part[:, None])
    return np.where(dropped, -1, window * num_steps + part), written.ravel()
