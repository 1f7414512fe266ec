"""What an array of events is: a one-dimensional structured array with the fields x, y, t, p, in any order and any type."""
import numpy as np
from numpy.typing import ArrayLike

#: column, row (pixels), time (microseconds unless the data set says otherwise), polarity (0 = off, 1 = on)
EVENT_DTYPE = np.dtype([('x', np.int16), ('y', np.int16), ('t', np.int64), ('p', np.int8)])


def make_events(x: ArrayLike, y: ArrayLike, t: ArrayLike, p: ArrayLike) -> np.ndarray:
    """Return events (N,) of ``EVENT_DTYPE`` from four sequences of N numbers; any polarity above 0 is on.

    Raises:
        ValueError: Sequences of different lengths.
    """
    columns = dict(x=np.asarray(x), y=np.asarray(y), t=np.asarray(t), p=np.asarray(p))
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or columns['t'].ndim != 1:
        raise ValueError(f'x, y, t and p must be sequences of one length, got the shapes {shapes}')
    events = np.empty(len(columns['t']), EVENT_DTYPE)
    for name in 'xyt':
        events[name] = columns[name]
    events['p'] = columns['p'] > 0
    return events


def check_fields(events: np.ndarray) -> None:
    """Raise ValueError unless ``events`` is a one-dimensional structured array with the fields x, y, t and p."""
    missing = {'x', 'y', 't', 'p'} - set(events.dtype.names or ())
    if missing or events.ndim != 1:
        raise ValueError(f'events must be a one-dimensional array with the fields x, y, t, p; got shape {events.shape}, '
                         f'fields {events.dtype.names}' + (f', missing {sorted(missing)}' if missing else ''))


def check_inside(events: np.ndarray, size: tuple[int, int]) -> None:
    """Raise ValueError unless every event lies on a sensor of ``size`` (height, width)."""
    height, width = size
    for name, limit in (('x', width), ('y', height)):
        column = events[name]
        if len(column) and (column.min() < 0 or column.max() >= limit):
            raise ValueError(f'events have {name} in {column.min()}..{column.max()}, but the sensor of {height} x {width} '
                             f'(height x width) allows 0..{limit - 1}')
