"""Reading of recordings of any format, as a whole or as a stream of events."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmbsa.events.array import EVENT_DTYPE, TIME_UNITS, check_size, make_events, outside
from mmbsa.events.formats import OPENERS, identify
from mmbsa.events.formats.aedat import LAYOUTS
from mmbsa.events.formats.source import (
    Block,
    Recording,
    RecordingError,
    Request,
    TruncatedError,
    check_repair,
)
from mmbsa.events.slicing import time_order

#: formats that do not define the unit of their times
NO_UNIT = ('mat', 'npy', 'npz')


def open_recording(
    path: str | os.PathLike,
    part: Any = None,
    *,
    layout: str | None = None,
    sensor_size: tuple[int, int] | None = None,
    follow: float = 0.0,
) -> Recording:
    """Open a recording: its format, the sensor size if the file states it, and its blocks.

    Arguments and errors are those of :func:`iter_events`. A file of 0 bytes is an error.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such recording')
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f'layout must be one of {tuple(LAYOUTS)}, got {layout!r}')
    size = None if sensor_size is None else check_size(tuple(sensor_size))
    try:
        if not path.stat().st_size:
            raise RecordingError(path, 'the file is empty: it has 0 bytes and no events')
        recording = OPENERS[identify(path)](Request(path, part, layout, size, follow))
        if part is not None and not recording.has_parts:
            raise RecordingError(path, f'part={part!r} is set, but the file holds one recording')
        return recording
    except (RecordingError, ModuleNotFoundError):
        raise
    except Exception as error:  # zip, numpy, XML, HDF5 and MATLAB raise different types for damage
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RecordingError:
    kind = TruncatedError if 'truncated' in str(error).lower() else RecordingError
    return kind(path, f'{type(error).__name__}: {error}')


def iter_events(
    path: str | os.PathLike,
    part: Any = None,
    *,
    layout: str | None = None,
    sensor_size: tuple[int, int] | None = None,
    repair: str | Collection[str] = (),
    follow: float = 0.0,
    time_unit: str | None = None,
) -> Iterator[np.ndarray]:
    """Read a recording of any format in chunks of bounded size.

    The content of the file determines the format: AEDAT 1, 2, 3.1 and 4, Prophesee's .dat and raw
    EVT 2.0 and 3.0, HDF5 (Prophesee, DSEC, MVSEC, plain columns, SHD), .npz and .npy (x, y, t, p;
    ES-ImageNet's ``pos`` and ``neg``), .mat (vectors; ST-MNIST), .bin (N-MNIST, N-Caltech101).

    Args:
        path: the file.
        part: selects one of several parts: the number of a stream of AEDAT 3 and 4, a camera of
            MVSEC, a recording of SHD. None (default) if there is only one.
        layout: address layout of AEDAT 1 and 2, one of ``mmbsa.events.formats.aedat.LAYOUTS``; None
            (default) derives it from the header and ``sensor_size``. Other formats do not use it.
        sensor_size: (height, width) in pixels; all events must be inside it. None (default) uses
            the size in the file, if the file states it.
        repair: faults that are repaired instead of raising an error; none by default; one or
            several of

            * ``'truncated'``: use the whole events before the end of a truncated file;
            * ``'unsorted'``: sort the events by time (stable; reads the recording as a whole);
            * ``'outside'``: remove events outside of the sensor;
            * ``'empty'``: accept a recording without events;

            or ``'all'``.
        follow: seconds without growth after which a growing file counts as complete (AEDAT, .dat,
            EVT, .bin); 0 by default. Other formats are read in their present state.
        time_unit: unit of the times in .npz, .npy and .mat files with columns x, y, t, p:
            ``'us'``, ``'s'``, ``'ms'`` or ``'ns'``; None (default) means ``'us'``. Other formats
            define their unit.

    Yields:
        Events (N,) of ``mmbsa.events.EVENT_DTYPE``, in the order of time, N > 0. An error may occur
        after some chunks: the recording is complete only if the stream ends without an error.

    Raises:
        FileNotFoundError: the file does not exist.
        ModuleNotFoundError: a package that this format needs is missing.
        ValueError: an argument is invalid, or ``mmbsa.events.RecordingError``, whose message names
            the file and if possible the byte: the recording has an unknown format, is damaged,
            truncated, out of order or empty, or has events outside of the sensor.
    """
    repairs = check_repair(repair)
    if time_unit is not None and time_unit not in TIME_UNITS:
        raise ValueError(f'time_unit must be one of {tuple(TIME_UNITS)} or None, got {time_unit!r}')
    if 'empty' in repairs and os.path.isfile(path) and not os.path.getsize(path):
        return
    recording = open_recording(path, part, layout=layout, sensor_size=sensor_size, follow=follow)
    if time_unit is not None:
        if recording.format not in NO_UNIT or recording.time_unit != 'us':
            raise RecordingError(
                recording.path,
                f'time_unit={time_unit!r} is set, but the format {recording.format} defines the '
                f'unit of its times; only {", ".join(NO_UNIT)} do not',
            )
        recording.time_unit = time_unit
    size = recording.size if sensor_size is None else check_size(tuple(sensor_size))
    chunks = _checked(recording, size, repairs)
    if 'unsorted' in repairs:
        events = np.concatenate([*chunks, np.zeros(0, EVENT_DTYPE)])
        order = time_order(events['t'])
        chunks = iter([events if order is None else events[order]])
    count = 0
    for events in chunks:
        count += len(events)
        if len(events):
            yield events
    if not count and 'empty' not in repairs:
        raise RecordingError(recording.path, 'it holds no events')


def _checked(
    recording: Recording, size: tuple[int, int] | None, repairs: frozenset[str]
) -> Iterator[np.ndarray]:
    """Yield the events of a recording block by block, after a check of all their values."""
    last, before = None, 0
    blocks = recording.blocks()
    while True:
        try:
            block = next(blocks, None)
        except TruncatedError:
            if 'truncated' in repairs:
                return
            raise
        except (RecordingError, ModuleNotFoundError):
            raise
        except Exception as error:  # different types for damage, as in open_recording
            raise _damaged(recording.path, error) from error
        if block is None:
            return
        try:
            events = make_events(*block[:4], time_unit=recording.time_unit)
        except ValueError as error:
            raise RecordingError(
                recording.path,
                f'{error}; events are counted from event {before} of the recording',
                block.offset,
            ) from error
        number = len(events)
        if size is not None:
            events = _inside(recording.path, events, size, block, before, 'outside' in repairs)
        if len(events) and 'unsorted' not in repairs:
            _check_order(recording.path, events, last, block, before)
            last = int(events['t'][-1])
        before += number
        yield events


def _place(block: Block, index: int) -> int | None:
    return None if block.offset is None else block.offset + index * block.stride


def _inside(
    path: Path, events: np.ndarray, size: tuple[int, int], block: Block, before: int, repair: bool
) -> np.ndarray:
    """Return the events inside the sensor; without ``repair`` an event outside raises an error."""
    wrong = outside(events, size)
    if not wrong.any():
        return events
    if repair:
        return events[~wrong]
    index = int(np.argmax(wrong))
    raise RecordingError(
        path,
        f'event {before + index} at x={events["x"][index]}, y='
        f'{events["y"][index]} is outside the sensor of {size[0]} x {size[1]} '
        "(height x width); repair='outside' leaves such events out",
        _place(block, index),
    )


def _check_order(
    path: Path, events: np.ndarray, last: int | None, block: Block, before: int
) -> None:
    t = events['t']
    falls = t < np.append(t[0] if last is None else last, t[:-1])
    if falls.any():
        index = int(np.argmax(falls))
        earlier = t[index - 1] if index else last
        raise RecordingError(
            path,
            f'event {before + index} has the time {t[index]} after {earlier}'
            "; expected events in the order of time, repair='unsorted' sorts them",
            _place(block, index) if len(t) == len(block.t) else block.offset,
        )


def read_events(
    path: str | os.PathLike,
    part: Any = None,
    *,
    layout: str | None = None,
    sensor_size: tuple[int, int] | None = None,
    repair: str | Collection[str] = (),
    time_unit: str | None = None,
) -> np.ndarray:
    """Read a recording as a whole.

    Arguments and errors are those of :func:`iter_events`. A file with a fault that is not repaired
    raises an error and never returns a part of its events.

    Returns:
        Events (N,) of ``mmbsa.events.EVENT_DTYPE`` in the order of time.
    """
    chunks = iter_events(
        path, part, layout=layout, sensor_size=sensor_size, repair=repair, time_unit=time_unit
    )
    return np.concatenate([*chunks, np.zeros(0, EVENT_DTYPE)])
