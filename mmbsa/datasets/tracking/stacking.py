"""Conversion of recordings to the event frames of the tracking benchmarks."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmbsa.datasets.tracking.layouts import get_layout
from mmbsa.events import iter_events, iter_trajectory_prompt, open_recording, read_frame_times
from mmbsa.events.slicing import check_timestamps
from mmbsa.structures.track_files import read_rows
from mmbsa.utils.files import atomic_folder

#: compression level of the pictures: low, because they are mostly zeros.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 3]


def find_recording(folder: str | os.PathLike) -> Path:
    """Return the recording of a sequence: ``events.*`` (FE108) or ``SEQ.*`` in its folder SEQ.

    Raises:
        FileNotFoundError: there is no recording, or there are several.
    """
    folder = Path(folder)
    found = [
        file
        for stem in ('events', folder.name)
        for file in sorted(folder.glob(f'{stem}.*'))
        if file.is_file() and file.suffix != '.txt'
    ]
    if len(found) != 1:
        raise FileNotFoundError(
            f'{folder}: expected one recording events.* or {folder.name}.*, found '
            f'{[file.name for file in found]}'
        )
    return found[0]


def window_borders(
    recording: Path, first: int = 0, repair: str | Collection[str] = ()
) -> np.ndarray:
    """Return the borders of the frames of a sequence, (K + 1,) int64 in microseconds.

    With a folder ``img`` of N files beside the recording, there are at most N windows, as in the
    official script.

    Args:
        recording: the file. ``timestamps.txt`` in the same folder (one number per row) has priority
            over the frames in an AEDAT 4 file.
        first: number of frames that are skipped at the beginning; 0 by default.
        repair: faults of an AEDAT 4 file that are repaired, see ``mmbsa.events.read_frame_times``;
            none by default.

    Raises:
        ValueError: fewer than two borders remain, or they do not increase.
    """
    file, images = recording.with_name('timestamps.txt'), recording.with_name('img')
    if file.is_file():
        times = read_rows(file, 1)[:, 0].astype(np.int64)
    else:
        file, times = recording, read_frame_times(recording, repair=repair)
    count = len(times)
    if images.is_dir():
        pictures = sum(entry.name[0] != '.' for entry in os.scandir(images))
        times = times[: first + pictures + 1]
    if len(times) - first < 2:
        limit = f' and {images} has {pictures} files' if images.is_dir() else ''
        raise ValueError(
            f'{file}: {count} frames, of which the first {first} are skipped{limit}; a window '
            'needs two frames'
        )
    try:
        return check_timestamps(times[first:])
    except ValueError as error:
        raise ValueError(f'{file}: times of the frames after the first {first}: {error}') from error


def stack_sequence(
    folder: str | os.PathLike,
    layout: str,
    num_steps: int = 1,
    first: int = 0,
    official_quirks: bool = False,
    *,
    sensor_size: Sequence[int] | None = None,
    repair: str | Collection[str] = (),
    time_unit: str | None = None,
) -> int:
    """Write the Global Trajectory Prompts of a sequence for the loaders of a benchmark.

    All frames appear together under ``inter{T}_stack_3008``, or none of them. A sequence that has
    files in this folder is not changed. One picture is in memory at a time; the events are read in
    blocks, except with ``official_quirks`` or ``repair='unsorted'``, which need all of them in
    memory.

    Args:
        folder: folder of the sequence, with its recording.
        layout: layout whose frame numbers are used: ``'FE108'``, ``'VisEvent'`` or ``'FELT'``.
        num_steps: number of sub-frames T, 1 by default.
        first: number of camera frames that are skipped (the number in FE108's pair.txt); 0 by
            default.
        official_quirks: whether events are assigned to windows as in the official script, see
            :func:`mmbsa.events.trajectory_prompt`; sub-frames that the script omits are then
            omitted too. False by default.
        sensor_size: (height, width) in pixels for recordings that do not state it; None by default.
        repair: faults of the recording that are repaired, see ``mmbsa.events.iter_events``; none by
            default.
        time_unit: unit of the times in .npz, .npy and .mat files, see
            ``mmbsa.events.iter_events``; None (microseconds) by default.

    Returns:
        Number of written pictures; 0 if the folder has files already.

    Raises:
        FileNotFoundError: there is no recording, or there are several.
        ValueError: the recording is damaged, its size is unknown, or it has too few frames; the
            message names the file.
    """
    rules, folder = get_layout(layout), Path(folder)
    if '/' not in rules.frame or '{step}' not in rules.frame:
        raise ValueError(f'layout={layout!r} has no stacked frames; FE108, VisEvent and FELT have')
    target = (folder / rules.frame.format(index=0, step=1, steps=num_steps)).parent
    if target.is_dir() and any(os.scandir(target)):
        return 0
    recording = find_recording(folder)
    size = open_recording(recording).size if sensor_size is None else tuple(sensor_size)
    if size is None:
        raise ValueError(
            f'{recording}: the file does not state the size of the sensor; set sensor_size '
            '(--sensor-size HEIGHT WIDTH)'
        )
    borders, written = window_borders(recording, first, repair), 0
    events = iter_events(recording, sensor_size=size, repair=repair, time_unit=time_unit)
    with atomic_folder(target) as draft:
        for row, step, picture in iter_trajectory_prompt(
            events, size, borders, num_steps, official_quirks=official_quirks
        ):
            name = Path(
                rules.frame.format(index=row + rules.first, step=step + 1, steps=num_steps)
            ).name
            # OpenCV writes BGR: the channels on, off, trajectory are blue, green, red of the file
            if not cv2.imwrite(str(draft / f'{name}.png'), picture.transpose(1, 2, 0), PNG):
                raise OSError(f'{target / name}.png cannot be written')
            written += 1
    return written


def start_frames(root: str | os.PathLike) -> dict[str, int]:
    """Read FE108's ``pair.txt``: sequence -> number of camera frames that are skipped.

    The official script adds 1 to the number in the file, and counts frames from 1. Therefore the
    number in the file is the number of skipped frames.

    Args:
        root: folder of FE108. Without a ``pair.txt``, the result is empty.

    Raises:
        ValueError: a line is not a name and a number; the message names file and line.
    """
    file, found = Path(root, 'pair.txt'), {}
    if not file.is_file():
        return found
    for number, line in enumerate(file.read_text(errors='replace').splitlines(), 1):
        words = line.split()
        if words and (len(words) != 2 or not words[1].isdecimal()):
            raise ValueError(
                f'{file}, line {number}: expected a name and a number, found {line[:60]!r}'
            )
        if words:
            found[words[0]] = int(words[1])
    return found
