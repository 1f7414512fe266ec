"""Augmentations of events themselves, before they become frames.

Events that leave the sensor are dropped; events that lie outside it before are refused. What comes
back is a new array of ``EVENT_DTYPE``.
"""

import numpy as np

from mmbsa.events.array import as_events, check_inside, check_size
from mmbsa.events.geometry import middle

Size = tuple[int, int]
DIRECTIONS = ('horizontal', 'vertical', 'time')


def _on_sensor(events: np.ndarray, size: Size) -> np.ndarray:
    events = as_events(events)
    check_inside(events, size)
    return events


def flip(events: np.ndarray, size: Size, direction: str = 'horizontal') -> np.ndarray:
    """Mirror events.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.
        direction: ``'horizontal'``, ``'vertical'``, or ``'time'``, which plays the recording
            backwards: an edge that brightened a pixel then darkens it, so polarities change too.

    Returns:
        As many events; events in the order of time stay in it.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f'direction must be one of {DIRECTIONS}, got {direction!r}')
    events = _on_sensor(events, size)
    out = events.copy()
    if direction == 'horizontal':
        out['x'] = size[1] - 1 - events['x']
    elif direction == 'vertical':
        out['y'] = size[0] - 1 - events['y']
    elif len(events):
        out = out[::-1].copy()
        out['t'] = events['t'].max() - out['t'] + events['t'].min()
        out['p'] = 1 - out['p']
    return out


def roll(events: np.ndarray, size: Size, x: int = 0, y: int = 0) -> np.ndarray:
    """Shift events by whole pixels; what leaves the sensor comes back on the other side."""
    events = _on_sensor(events, size)
    out = events.copy()
    out['x'] = (events['x'].astype(np.int64) + x) % size[1]
    out['y'] = (events['y'].astype(np.int64) + y) % size[0]
    return out


def warp(
    events: np.ndarray, size: Size, matrix: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Map events by ``matrix`` about the middle of the sensor, then shift them.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.
        matrix: 2 x 2, acts on (x, y), see ``rotation`` and ``shearing``.
        shift: (x, y) in pixels.

    Returns:
        The events that land on the sensor, on the nearest pixels, (M,) with M <= N.
    """
    events = _on_sensor(events, size)
    centre = middle(size)
    points = np.stack([events['x'], events['y']]).astype(np.float64)
    points = np.asarray(matrix) @ (points - centre[:, None]) + centre[:, None]
    points += np.reshape(shift, (2, 1))
    x, y = np.floor(points + 0.5).astype(np.int64)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    out = events[inside]
    out['x'], out['y'] = x[inside], y[inside]
    return out


def cutout(events: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return the events outside a box, which may reach over the edge, with its corner at (x, y)."""
    events = as_events(events)
    columns = (events['x'] >= x) & (events['x'] < x + width)
    rows = (events['y'] >= y) & (events['y'] < y + height)
    inside = columns & rows
    return events[~inside]


def resize(events: np.ndarray, size: Size, new_size: Size) -> np.ndarray:
    """Return as many events on a sensor of ``new_size``; a coarse pixel has all that it covers."""
    events, new_size = _on_sensor(events, size), check_size(new_size)
    out = events.copy()
    out['x'] = events['x'].astype(np.int64) * new_size[1] // size[1]
    out['y'] = events['y'].astype(np.int64) * new_size[0] // size[0]
    return out
