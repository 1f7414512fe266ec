"""Reading of the events of a time window without reading the whole recording before it."""

import os
from bisect import bisect_left
from pathlib import Path

import numpy as np

from mmbsa.events.array import EVENT_DTYPE, check_inside, make_events
from mmbsa.events.formats.source import RecordingError, Request, TruncatedError, header_lines
from mmbsa.events.reading import iter_events
from mmbsa.events.slicing import slice_time

#: bytes of an event in a .dat file.
_EVENT = 8


def read_window(
    path: str | os.PathLike, start: int, stop: int, size: tuple[int, int]
) -> np.ndarray:
    """Read the events with start <= t < stop.

    In Prophesee's .dat files (version 2, times in order, shorter than 71 minutes) the window is
    found by binary search; files of other formats are read from their beginning to the end of the
    window.

    Args:
        path: the recording.
        start, stop: times in microseconds.
        size: (height, width) of the sensor in pixels.

    Returns:
        Events (N,) of ``mmbsa.events.EVENT_DTYPE``; N may be 0.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, truncated or empty, events in or beside the window are not
            in the order of time, or events are outside of the sensor; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such recording')
    words = _dat_words(path)
    if words is None:
        return _streamed(path, start, stop, size)
    first, last = (
        bisect_left(range(len(words)), time, key=lambda i: int(words[i, 0]))
        for time in (max(start, 0), max(stop, 0))
    )
    t, address = np.array(words[first:last]).T
    around = np.array(words[max(first - 1, 0) : last + 1, 0], np.int64)
    if (np.diff(around) < 0).any() or not ((t >= start) & (t < stop)).all():
        raise RecordingError(
            path,
            f'the events near {start} to {stop} us are not in the order of time; '
            "read_events(..., repair='unsorted') sorts them",
        )
    events = make_events(address & 0x3FFF, address >> 14 & 0x3FFF, t, address >> 28 & 1)
    try:
        check_inside(events, size)
    except ValueError as error:
        raise RecordingError(path, f'between {start} and {stop} us: {error}') from error
    return events


def _dat_words(path: Path) -> np.ndarray | None:
    """Return times and addresses (N, 2) of a .dat file of version 2, else None."""
    with open(path, 'rb') as file:
        if file.read(1) != b'%':
            return None
    lines, start = header_lines(Request(path, None, None, None, 0.0), b'%')
    with open(path, 'rb') as file:
        file.seek(start)
        kind = file.read(2)
    text = '\n'.join(lines).lower()
    number, rest = divmod(path.stat().st_size - start - 2, _EVENT)
    if 'version 2' not in text or len(kind) < 2 or kind[1] != _EVENT or number < 1:
        return None
    if rest:
        raise TruncatedError(path, 'the last event is not complete', start + 2 + number * _EVENT)
    return np.memmap(path, '<u4', 'r', start + 2, (number, 2))


def _streamed(path: Path, start: int, stop: int, size: tuple[int, int]) -> np.ndarray:
    parts = [np.zeros(0, EVENT_DTYPE)]
    for chunk in iter_events(path, sensor_size=size):
        parts.append(slice_time(chunk, start, stop))
        if chunk['t'][-1] >= stop:
            break
    return np.concatenate(parts)
