"""Representations of events other than counts: voxel grids and time surfaces."""

import numpy as np
from numpy.typing import ArrayLike

from mmbsa.events.array import check_size, ordered_columns
from mmbsa.events.frames import check_volume


def voxel_grid(
    events: np.ndarray,
    size: tuple[int, int],
    num_bins: int,
    start: int | None = None,
    stop: int | None = None,
) -> np.ndarray:
    """Distribute signed events over bins of time (Zhu et al., 2019, arXiv 1812.08156, equation 1).

    With s_i = -1 (off) or 1 (on) and t*_i = (B - 1) (t_i - start) / (stop - start),
    V(b, y, x) = sum over the events at (x, y) of s_i max(0, 1 - |b - t*_i|).

    Args:
        events: (N,) with the fields x, y, t, p, in any order.
        size: (height, width) of the sensor in pixels.
        num_bins: number of bins B.
        start, stop: time span in microseconds, with both ends; events outside of it are ignored.
            None (default) uses the time of the first and of the last event. With a span of zero,
            all events are in bin 0.

    Returns:
        (B, H, W) float32.

    Raises:
        ValueError: events are outside of the sensor or invalid as in ``as_events``, ``num_bins`` is
            below 1, or ``stop`` is before ``start``.
    """
    if isinstance(num_bins, bool) or not isinstance(num_bins, int | np.integer) or num_bins < 1:
        raise ValueError(f'num_bins must be a positive integer, got {num_bins!r}')
    pixel, t, p = ordered_columns(events, size)
    height, width = check_size(size)
    check_volume((num_bins, height, width), 'the voxel grid')
    start = (int(t[0]) if len(t) else 0) if start is None else start
    stop = (int(t[-1]) if len(t) else start) if stop is None else stop
    if stop < start:
        raise ValueError(f'stop must not be before start, got start={start} and stop={stop}')
    # the events between two bins are consecutive, and integer times give the start of a bin
    steps, span = num_bins - 1, max(stop - start, 1)
    borders = [start + -(-number * span // max(steps, 1)) for number in range(max(steps, 1))]
    edges = np.searchsorted(t, [*borders, stop + 1])
    pixels = height * width
    grid = np.zeros((num_bins + 1, pixels))
    for number, (first, last) in enumerate(zip(edges[:-1], edges[1:])):
        share = ((t[first:last] - start) * steps - number * span) / span
        sign = 2.0 * p[first:last] - 1
        share *= sign
        sign -= share
        grid[number] += np.bincount(pixel[first:last], sign, pixels)
        grid[number + 1] += np.bincount(pixel[first:last], share, pixels)
    return grid[:num_bins].reshape(num_bins, height, width).astype(np.float32)


def time_surface(
    events: np.ndarray, size: tuple[int, int], times: ArrayLike, tau: float
) -> np.ndarray:
    """Return the decayed age of each pixel's last event (Lagorce et al., 2017, HOTS, equation 2).

    S(k, p, y, x) = exp(-(times[k] - t_last) / tau), where t_last is the latest time <= times[k] of
    an event of polarity p at (x, y); 0 without such an event.

    Args:
        events: (N,) with the fields x, y, t, p, in any order.
        size: (height, width) of the sensor in pixels.
        times: K times in microseconds, in ascending order.
        tau: time constant of the decay in microseconds.

    Returns:
        (K, 2, H, W) float32; polarity 0 is off and 1 is on.

    Raises:
        ValueError: events are outside of the sensor or invalid as in ``as_events``, ``times`` are
            not ascending, or ``tau`` is not positive.
    """
    moments = np.asarray(times)
    if moments.ndim != 1 or moments.dtype.kind not in 'iu' or (np.diff(moments) < 0).any():
        raise ValueError(f'times must be whole numbers (microseconds) in order, got {times!r}')
    if not tau > 0:
        raise ValueError(f'tau must be positive, got {tau!r}')
    pixel, t, p = ordered_columns(events, size)
    height, width = check_size(size)
    check_volume((len(moments), 2, height, width), 'the time surfaces')
    latest = np.full(2 * height * width, -np.inf)
    surfaces = np.empty((len(moments), len(latest)), np.float32)
    start = 0
    for surface, moment, stop in zip(surfaces, moments, np.searchsorted(t, moments, 'right')):
        place = np.multiply(p[start:stop], height * width, dtype=np.int64) + pixel[start:stop]
        latest[place] = t[start:stop]  # numpy keeps the last of several values
        surface[:] = np.exp(((latest - int(moment)) / tau).astype(np.float32))
        start = stop
    return surfaces.reshape(-1, 2, height, width)
