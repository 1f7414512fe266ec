"""Recordings as streams of frames, from event files or folders of frames that may still grow."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mmbsa.datasets.tracking.stacking import start_frames, window_borders
from mmbsa.events import (
    RecordingError,
    draw_trajectory,
    iter_events,
    iter_windows,
    split_windows,
)
from mmbsa.events.reading import check_repair, open_recording
from mmbsa.structures.track_files import read_boxes

#: endings of frame files, and names of annotation files in the same folder.
ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png'}
ANNOTATIONS = ('groundtruth_rect.txt', 'groundtruth.txt')
#: microseconds per frame of an event file without frame times.
WINDOW = 20_000
#: seconds between two checks of a growing folder.
POLL = 0.05


@dataclass
class Source:
    """A stream of frames.

    Attributes:
        frames: iterator of frames (T, H, W, 3) uint8 with the channels of the benchmarks' loaders:
            trajectory, darker, brighter.
        boxes: true boxes (N, 4) as x, y, w, h in pixels, row i for frame i; None if there is no
            annotation or if it is unknown which frames its rows belong to.
        name: name of the recording.
        start: first row (4,) of the annotation, or None.
        note: what the user must know: why there is an annotation but no ``boxes``, or that a frame
            is missing; otherwise empty.
    """

    frames: Iterator[np.ndarray]
    boxes: np.ndarray | None
    name: str
    start: np.ndarray | None = None
    note: str = ''


def open_source(
    path: str | os.PathLike,
    num_steps: int = 1,
    window: int | None = None,
    follow: float = 0.0,
    sensor_size: Sequence[int] | None = None,
    repair: str | Sequence[str] = (),
    row_per_frame: bool = False,
    part: int | str | None = None,
    layout: str | None = None,
    time_unit: str | None = None,
) -> Source:
    """Open a recording as a stream of frames.

    Row i of the annotation belongs to frame i if

    * the annotation has only one row, which belongs to the first frame; or
    * the recording is a folder with as many frames as rows and without missing frame numbers; or
    * it is an event file that is cut at its frame times, from ``timestamps.txt`` beside it or from
      its own frames. FE108's ``pair.txt`` gives the number of times that are skipped; without it
      there must be as many rows as times or windows.

    Args:
        path: an event file; a folder of frames; or a folder of a sequence with frames in ``img`` or
            ``inter{T}_stack_3008``.
        num_steps: number of sub-frames T per frame, 1 by default.
        window: microseconds per frame, for event files only. None (default) cuts an annotated file
            at its frame times if it has any, and other files every 20,000 microseconds.
        follow: seconds without growth after which a growing file or folder counts as complete; 0 by
            default. Above 0, the annotation is not compared with the frames: true boxes need
            ``row_per_frame``, or an annotation of one row.
        sensor_size: (height, width) for event files that do not state it; None by default.
        repair: faults of event files that are repaired, see ``mmbsa.events.iter_events``; none by
            default.
        row_per_frame: states that row i of the annotation belongs to frame i, without a check;
            False by default.
        part, layout, time_unit: for event files, see ``mmbsa.events.iter_events``; None by default.

    Raises:
        FileNotFoundError: the path does not exist, or the folder has no frames.
        ValueError: the file is not a recording, the size of the sensor is unknown, the window
            cannot be divided by T, the folder has no event frames of T sub-frames, an argument is
            invalid, or an argument for event files is given with a folder.
    """
    path = Path(path)
    if window is not None and window < 1:
        raise ValueError(f'window must be at least 1 microsecond, got {window}')
    if not 0 <= follow < float('inf'):
        raise ValueError(f'follow must be 0 or more seconds, got {follow}')
    if sensor_size is not None and (len(sensor_size) != 2 or min(sensor_size) < 1):
        raise ValueError(
            f'sensor_size must be a height and a width of at least 1, got {tuple(sensor_size)}'
        )
    check_repair(repair)
    if path.is_dir():
        for_files = dict(
            window=window,
            sensor_size=sensor_size,
            repair=repair or None,
            part=part,
            layout=layout,
            time_unit=time_unit,
        )
        given = [name for name, value in for_files.items() if value is not None]
        if given:
            raise ValueError(f'{path} is a folder of frames; {given[0]} is for event files only')
        return _open_folder(path, num_steps, follow, row_per_frame)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such recording')
    size = sensor_size or open_recording(path, part, layout=layout, follow=follow).size
    if size is None:
        raise ValueError(
            f'{path}: the file does not state the size of the sensor; give sensor_size'
        )
    size = tuple(int(side) for side in size)
    file, rows = _read_annotation(path.parent)
    borders, reason = None, 'it is divided into windows of equal length'
    if follow:
        reason = 'it may still grow'
    elif file is not None and window is None and not row_per_frame:
        borders, reason = _frame_borders(path, len(rows), repair)
    if borders is None:
        window = WINDOW if window is None else window
        if window % num_steps:
            raise ValueError(
                f'a window of {window} microseconds cannot be cut into {num_steps} equal sub-frames'
            )
        rule: dict = dict(duration=window // num_steps)
    else:
        rule = dict(timestamps=split_windows(borders, num_steps))
    events = iter_events(
        path,
        part,
        layout=layout,
        sensor_size=size,
        repair=repair,
        follow=follow,
        time_unit=time_unit,
    )
    frames = _group(draw_trajectory(iter_windows(events, **rule), size), num_steps)
    return _source(path, frames, path.stem, file, rows, '' if row_per_frame else reason)


def _read_annotation(*folders: Path) -> tuple[Path | None, np.ndarray]:
    """Return the first annotation file in the folders, or None, and its rows (N, 4)."""
    for file in (folder / name for folder in folders for name in ANNOTATIONS):
        if file.is_file():
            return file, read_boxes(file)
    return None, np.zeros((0, 4))


def _frame_borders(
    path: Path, rows: int, repair: str | Sequence[str]
) -> tuple[np.ndarray | None, str]:
    """Return the frame times of an event file with ``rows`` annotated frames, (K + 1,).

    If they are unknown or do not fit the annotation, return None and the reason.
    """
    place = path.resolve().parent
    skipped = start_frames(place.parent.parent).get(place.name)
    try:
        borders = window_borders(path, skipped or 0, repair)
    except RecordingError as error:
        return None, f'there is no timestamps.txt beside it and {error.reason}'
    if skipped is None and rows not in (len(borders), len(borders) - 1):
        return None, f'it has {len(borders)} frame times'
    return borders, ''


def _source(
    path: Path,
    frames: Iterator[np.ndarray],
    name: str,
    file: Path | None,
    rows: np.ndarray,
    reason: str,
) -> Source:
    """Return the source; ``reason``, unless empty, says why rows and frames may not match."""
    if file is None:
        return Source(frames, None, name)
    if not reason or len(rows) == 1:
        return Source(frames, rows, name, rows[0])
    note = (
        f'true boxes are not drawn: {file} has {len(rows)} rows, but it is not known to '
        f'which frames of {path} they belong: {reason}; --row-per-frame draws row i in frame i'
    )
    return Source(frames, None, name, rows[0], note)


def _group(parts: Iterator[np.ndarray], num_steps: int) -> Iterator[np.ndarray]:
    """Group pictures (3, H, W) brighter, darker, trajectory into frames (T, H, W, 3).

    An incomplete last frame is omitted.
    """
    while len(group := list(islice(parts, num_steps))) == num_steps:
        yield np.ascontiguousarray(np.stack(group)[:, ::-1].transpose(0, 2, 3, 1))


def _open_folder(path: Path, num_steps: int, follow: float, row_per_frame: bool) -> Source:
    stack = f'inter{num_steps}_stack_3008'
    inside = [path / stack, path / 'img', path]
    folder = next((place for place in inside if place.is_dir() and _pictures(place)), None)
    if folder is None:
        raise FileNotFoundError(
            f'{path}: there are no frames ({", ".join(sorted(ENDINGS))}) in the folder, nor '
            f'in img or {stack}'
        )
    if folder.name != stack:
        _check_event_frames(path, folder, stack)
    file, rows = _read_annotation(path, path.parent)
    gap, reason = '', 'it may still grow'
    if not follow:
        names = _frames(folder, num_steps)
        gap = reason = _missing(names)
        if len(names) != len(rows):
            reason = f'it has {len(names)} frames' + (f', {gap}' if gap else '')
    frames = _read_folder(folder, num_steps, follow)
    found = _source(folder, frames, path.name, file, rows, '' if row_per_frame else reason)
    return replace(found, note=f'{folder}: {gap}') if gap and not found.note else found


def _check_event_frames(path: Path, folder: Path, stack: str) -> None:
    """Raise ValueError if the chosen folder has camera pictures or frames of another T."""
    other = [place.name for place in sorted(path.glob('inter*_stack_3008')) if place.is_dir()]
    if re.fullmatch('inter[0-9]+_stack_3008', folder.name):
        other = [folder.name]
    elif not other and folder.name == 'img':  # raw FE108: camera pictures beside a recording
        other = [file.name for file in sorted(path.glob('*.aedat4'))]
    if other:
        raise ValueError(
            f'{path}: found {", ".join(other)}, but the model needs event frames in {stack}; '
            'tools/dataset_converters/stack_events.py makes them'
        )


def _order(name: str) -> tuple:
    """Return the sort key of a file name, in which numbers are compared as numbers."""
    parts = re.split('([0-9]+)', name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _pictures(folder: Path) -> list[str]:
    return sorted(
        (
            entry.name
            for entry in os.scandir(folder)
            if Path(entry.name).suffix.lower() in ENDINGS and not entry.name.startswith('.')
        ),
        key=_order,
    )


def _frames(folder: Path, num_steps: int) -> list[str]:
    """Return the files of the frames, in order; of sub-frames ``1_1`` to ``1_T`` only the first.

    Raises:
        ValueError: a frame has more than T sub-frames.
    """
    names, frames = _pictures(folder), []
    present = set(names)
    for name in names:
        stem, ending = os.path.splitext(name)
        later = re.fullmatch('(.*[0-9])_([2-9]|[1-9][0-9]+)', stem)
        if later and int(later[2]) > num_steps and f'{later[1]}_1{ending}' in present:
            raise ValueError(
                f'{folder / name}: this is sub-frame {later[2]} of a frame, but the model needs '
                f'frames of T={num_steps} sub-frames'
            )
        if not later or int(later[2]) > num_steps:
            frames.append(name)
    return frames


def _missing(names: list[str]) -> str:
    """Return a text that names the first missing frame, or an empty one."""
    found = [re.findall('[0-9]+', _first_of(name) or Path(name).stem)[-1:] for name in names]
    if len(names) < 2 or not all(found):
        return ''
    numbers = [int(number) for (number,) in found]
    steps = [after - before for before, after in zip(numbers, numbers[1:])]
    if sorted(steps)[len(steps) // 2] != 1 or max(steps) == 1:  # not by 1, or none is missing
        return ''
    place = next(index for index, step in enumerate(steps) if step > 1)
    return f'no frame between {names[place]} and {names[place + 1]}'


def _first_of(name: str) -> str | None:
    """Return ``1`` for ``1_1.png``, the first sub-frame of a frame; None for other names."""
    first = re.fullmatch('(.*[0-9])_1', Path(name).stem)
    return first and first[1]


def _read_folder(folder: Path, num_steps: int, follow: float) -> Iterator[np.ndarray]:
    """Yield the frames in the order of their names.

    Sub-frames end in ``_1`` to ``_T``; the first one replaces a missing one. In a growing folder, a
    sub-frame is missing if a later frame exists, or after ``follow`` seconds.
    """

    def after(name: str) -> list[str]:
        return [other for other in _frames(folder, num_steps) if _order(other) > _order(name)]

    last, size = '', None
    while True:
        deadline = time.monotonic() + follow
        while not (fresh := after(last)):
            if time.monotonic() >= deadline:
                return
            time.sleep(POLL)
        for name in fresh:
            deadline = time.monotonic() + follow
            first = _read(folder / name, deadline)
            if first is None:
                raise ValueError(f'{folder / name}: OpenCV cannot read this file as a picture')
            if size is not None and first.shape != size:
                raise ValueError(
                    f'{folder / name}: the frame is {first.shape[1]} x {first.shape[0]} pixels, '
                    f'those before it are {size[1]} x {size[0]}'
                )
            steps = [first]
            for step in range(2, num_steps + 1):
                image = None
                if stem := _first_of(name):
                    file = folder / f'{stem}_{step}{Path(name).suffix}'
                    image = _read(file, deadline, lambda name=name: bool(after(name)))
                steps.append(first if image is None or image.shape != first.shape else image)
            last, size = name, first.shape
            yield np.stack(steps)


def _read(
    file: Path, deadline: float, skipped: Callable[[], bool] = lambda: False
) -> np.ndarray | None:
    """Read a picture as RGB; wait until ``deadline`` for a file that is still being written.

    Return None after ``deadline``, or if the file does not exist and ``skipped`` returns True (a
    later frame exists).
    """
    while True:
        late = time.monotonic() >= deadline
        given_up = late or skipped()
        there = file.is_file()
        image = cv2.imread(str(file)) if there else None
        if image is not None:
            return np.ascontiguousarray(image[..., ::-1])
        if late or given_up and not there:
            return None
        time.sleep(POLL)
