"""Arrays of events: one-dimensional and structured, with the fields x, y, t, p."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

#: column, row (pixels), time (microseconds), polarity (0 = off, 1 = on)
EVENT_DTYPE = np.dtype([('x', np.int16), ('y', np.int16), ('t', np.int64), ('p', np.int8)])
#: unit of time -> (factor, divisor) for the conversion to microseconds
TIME_UNITS = dict(s=(1_000_000, 1), ms=(1000, 1), us=(1, 1), ns=(1, 1000))
#: lowest and highest value of a field; times may be negative (before the zero of the clock)
LIMITS = dict(x=(0, 2**15 - 1), y=(0, 2**15 - 1), t=(-(2**62), 2**62))


def _first(where: np.ndarray) -> int:
    return int(np.argmax(where))


def _check_number(name: str, column: np.ndarray, kinds: str) -> None:
    """Raise ValueError unless a column holds numbers of the given kinds, all finite."""
    if column.dtype.kind not in kinds:
        raise ValueError(
            f'{name} has the type {column.dtype}; expected whole numbers'
            + (' or booleans' if 'b' in kinds else '')
        )
    if column.dtype.kind == 'f' and not np.isfinite(column).all():
        place = _first(~np.isfinite(column))
        raise ValueError(f'{name} is {column[place]} at event {place}; expected a finite number')


def _whole(name: str, column: np.ndarray, unit: str = 'us') -> np.ndarray:
    """Return a column as int64 after a check of its type, fractions and range."""
    if not column.size:
        return np.zeros(0, np.int64)
    _check_number(name, column, 'iuf')
    factor, divisor = TIME_UNITS[unit]
    if column.dtype.kind == 'f':
        if factor > 1:
            with np.errstate(over='ignore'):  # too large values raise an error below
                column = np.rint(column.astype(np.float64) * factor)
        fractions = column != np.floor(column)
        if divisor == 1 and fractions.any():
            place = _first(fractions)
            raise ValueError(
                f'{name} is {column[place]} at event {place}, a fraction; expected whole '
                + (
                    "microseconds; for times in seconds set time_unit='s'"
                    if name == 't'
                    else 'pixels'
                )
            )
        exact = 2.0 ** np.finfo(column.dtype).nmant
        if np.abs(column).max() > 2 * exact:
            raise ValueError(
                f'{name} reaches {np.abs(column).max():.0f} as {column.dtype}, which '
                f'holds whole numbers only up to {2 * exact:.0f}; expected integers'
            )
        factor = 1
    low, high = int(column.min()), int(column.max())
    least, most = LIMITS[name]
    if low * factor // divisor < least or high * factor // divisor > most:
        wrong = column < least if low < least else column > most
        at = f' (first at event {_first(wrong)})' if wrong.any() else ''
        raise ValueError(f'{name} is in {low}..{high}{at}; expected {least}..{most}')
    return column.astype(np.int64) * factor // divisor


def _polarity(column: np.ndarray) -> np.ndarray:
    """Return a column of polarities {0, 1}, {-1, 1} or booleans as 0 (off) and 1 (on)."""
    if not column.size:
        return np.zeros(0, np.int8)
    _check_number('p', column, 'biuf')
    if column.dtype.kind == 'b':
        return column.astype(np.int8)
    on, off, zero = column == 1, column == -1, column == 0
    known = on | off | zero
    if not known.all():
        place = _first(~known)
        raise ValueError(
            f'p is {column[place]} at event {place}; expected the polarities 0 and 1, '
            '-1 and 1, or booleans'
        )
    if off.any() and zero.any():
        raise ValueError(
            f'p is -1 at event {_first(off)} and 0 at event {_first(zero)}; expected '
            'either 0 and 1 or -1 and 1'
        )
    return on.astype(np.int8)


def make_events(
    x: ArrayLike, y: ArrayLike, t: ArrayLike, p: ArrayLike, time_unit: str = 'us'
) -> np.ndarray:
    """Return events (N,) of ``EVENT_DTYPE`` from four sequences of N numbers.

    Args:
        x, y: columns and rows, whole numbers in 0..32767 of any numeric type.
        t: times in any order; whole numbers, except that ``'s'`` and ``'ms'`` are rounded to
            microseconds. Negative times are allowed.
        p: polarities: 0 and 1, -1 and 1 (1 is on), or booleans.
        time_unit: ``'us'`` (default), ``'s'``, ``'ms'`` or ``'ns'`` (rounded down to microseconds).

    Raises:
        ValueError: the sequences have different lengths, or values are NaN, fractions, out of range
            or invalid polarities; the message names the field, the event, the value and the
            expected values.
    """
    if time_unit not in TIME_UNITS:
        raise ValueError(f'time_unit must be one of {tuple(TIME_UNITS)}, got {time_unit!r}')
    columns = dict(x=np.asarray(x), y=np.asarray(y), t=np.asarray(t), p=np.asarray(p))
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or columns['t'].ndim != 1:
        raise ValueError(f'x, y, t and p must be sequences of one length, got the shapes {shapes}')
    events = np.empty(len(columns['t']), EVENT_DTYPE)
    for name in 'xy':
        events[name] = _whole(name, columns[name])
    events['t'] = _whole('t', columns['t'], time_unit)
    events['p'] = _polarity(columns['p'])
    return events


def as_events(events: np.ndarray) -> np.ndarray:
    """Return an array with the fields x, y, t, p, of any order and types, as ``EVENT_DTYPE``.

    An array of that type is returned itself. The input is never changed.

    Raises:
        ValueError: fields are missing, the array is not one-dimensional, or values are invalid as
            in
            :func:`make_events`.
    """
    events = np.asarray(events)
    missing = {'x', 'y', 't', 'p'} - set(events.dtype.names or ())
    if missing or events.ndim != 1:
        raise ValueError(
            'events must be a one-dimensional array with the fields x, y, t, p; got '
            f'shape {events.shape}, fields {events.dtype.names}'
            + (f', missing {sorted(missing)}' if missing else '')
        )
    if events.dtype == EVENT_DTYPE and (
        not len(events)
        or (min(events[name].min() for name in 'xyp') >= 0 and events['p'].max() <= 1)
    ):
        return events
    return make_events(events['x'], events['y'], events['t'], events['p'])


def ordered_columns(events: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return pixel = y * width + x (int64), t and p of events, (N,) each, in the order of time.

    Args:
        events: (N,) with the fields x, y, t, p.
        size: (height, width) of the sensor in pixels.

    Raises:
        ValueError: events are outside of the sensor, or invalid as in :func:`as_events`.
    """
    events = as_events(events)
    columns = [np.ascontiguousarray(events[name]) for name in 'xytp']
    if (columns[2][1:] < columns[2][:-1]).any():
        order = np.argsort(columns[2], kind='stable')
        columns = [column[order] for column in columns]
    x, y, t, p = columns
    height, width = check_size(size)
    if len(x) and (x.max() >= width or y.max() >= height):
        check_inside(events, size)
    pixel = np.multiply(y, width, dtype=np.int64)
    pixel += x
    return pixel, t, p


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """Return ``size`` as (height, width) of positive integers, or raise ValueError."""
    try:
        height, width = (int(length) for length in size)
        fits = min(height, width) >= 1 and (height, width) == tuple(size)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f'size must be (height, width) in pixels, got {size!r}')
    return height, width


def outside(events: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which events of ``EVENT_DTYPE`` are outside of a sensor of ``size``, (N,) bool."""
    height, width = check_size(size)
    return (events['x'] < 0) | (events['x'] >= width) | (events['y'] < 0) | (events['y'] >= height)


def check_inside(events: np.ndarray, size: tuple[int, int]) -> None:
    """Raise ValueError unless every event is inside a sensor of ``size`` (height, width)."""
    height, width = check_size(size)
    for name, limit in (('x', width), ('y', height)):
        column = events[name]
        if len(column) and (column.min() < 0 or column.max() >= limit):
            place = _first((column < 0) | (column >= limit))
            raise ValueError(
                f'events have {name} in {column.min()}..{column.max()}, but the sensor '
                f'of {height} x {width} (height x width) allows 0..{limit - 1}; the '
                f'first outside is event {place}: x={events["x"][place]}, '
                f'y={events["y"][place]}'
            )


def drop_outside(events: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the events that are inside a sensor of ``size`` (height, width)."""
    events = as_events(events)
    return events[~outside(events, size)]
