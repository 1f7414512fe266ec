"""Augmentations of events before they become frames.

Events that move out of the sensor are removed; input events outside of the sensor raise ValueError.
The result is a new array of ``EVENT_DTYPE``.
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
        direction: ``'horizontal'`` (default), ``'vertical'``, or ``'time'``, which reverses the
            time and swaps the polarities, because an edge that brightens a pixel then darkens it.

    Returns:
        (N,) events; sorted input gives sorted output.
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
    """Shift events by whole pixels with wrap-around at the border.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.
        x, y: shift in pixels, 0 by default.
    """
    events = _on_sensor(events, size)
    out = events.copy()
    out['x'] = (events['x'].astype(np.int64) + x) % size[1]
    out['y'] = (events['y'].astype(np.int64) + y) % size[0]
    return out


def warp(
    events: np.ndarray, size: Size, matrix: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Map events by ``matrix`` around the centre of the sensor, then shift them.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.
        matrix: 2 x 2, acts on (x, y), see ``rotation`` and ``shearing``.
        shift: (x, y) in pixels, (0, 0) by default.

    Returns:
        The events inside the sensor after the map, at the nearest pixels, (M,) with M <= N.
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
    """Return the events outside of a box with its upper left corner at (x, y).

    The box has ``width`` and ``height`` in pixels and may extend over the border.

    Args:
        events: (N,) with the fields x, y, t, p.
        x, y: upper left pixel of the box.
        width, height: size of the box in pixels.
    """
    events = as_events(events)
    columns = (events['x'] >= x) & (events['x'] < x + width)
    rows = (events['y'] >= y) & (events['y'] < y + height)
    inside = columns & rows
    return events[~inside]


def resize(events: np.ndarray, size: Size, new_size: Size) -> np.ndarray:
    """Return all events on a sensor of ``new_size``; each new pixel gets the events of its area.

    Args:
        events: (N,) with the fields x, y, t, p.
        size, new_size: old and new (height, width) of the sensor in pixels.
    """
    events, new_size = _on_sensor(events, size), check_size(new_size)
    out = events.copy()
    out['x'] = events['x'].astype(np.int64) * new_size[1] // size[1]
    out['y'] = events['y'].astype(np.int64) * new_size[0] // size[0]
    return out
