"""Conversion of recordings to the event frames of the tracking benchmarks."""

import os
from pathlib import Path

import cv2
import numpy as np

from mmbsa.datasets.tracking.layouts import get_layout
from mmbsa.events import read_events, read_frame_times, trajectory_prompt
from mmbsa.events.reading import open_recording
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


def window_borders(recording: Path, first: int = 0) -> np.ndarray:
    """Return the borders of the frames of a sequence, (K + 1,) int64 in microseconds.

    Args:
        recording: the file. ``timestamps.txt`` in the same folder (one number per row) has priority
            over the frames in an AEDAT 4 file.
        first: number of frames that are skipped at the beginning; 0 by default.

    Raises:
        ValueError: fewer than two borders remain.
    """
    beside = recording.with_name('timestamps.txt')
    times = (
        read_rows(beside, 1)[:, 0].astype(np.int64)
        if beside.is_file()
        else read_frame_times(recording)
    )
    if len(times) - first < 2:
        raise ValueError(
            f'{recording}: {len(times)} frames, of which the first {first} are skipped; a '
            'window needs two'
        )
    return times[first:]


def stack_sequence(
    folder: str | os.PathLike,
    layout: str,
    num_steps: int = 1,
    first: int = 0,
    official_quirks: bool = False,
) -> int:
    """Write the Global Trajectory Prompts of a sequence for the loaders of a benchmark.

    All frames appear together under ``inter{T}_stack_3008``, or none of them. A sequence that has
    this folder is not changed.

    Args:
        folder: folder of the sequence, with its recording.
        layout: layout whose frame numbers are used: ``'FE108'``, ``'VisEvent'`` or ``'FELT'``.
        num_steps: number of sub-frames T, 1 by default.
        first: number of camera frames that are skipped (FE108's pair.txt, plus 1); 0 by default.
        official_quirks: whether events are assigned to windows as in the official script, see
            :func:`mmbsa.events.trajectory_prompt`; sub-frames that the script omits are then
            omitted too. False by default.

    Returns:
        Number of written pictures; 0 if the folder exists.
    """
    rules, folder = get_layout(layout), Path(folder)
    if '/' not in rules.frame or '{step}' not in rules.frame:
        raise ValueError(f'layout={layout!r} has no stacked frames; FE108, VisEvent and FELT have')
    target = (folder / rules.frame.format(index=0, step=1, steps=num_steps)).parent
    if target.is_dir():
        return 0
    recording = find_recording(folder)
    events = read_events(recording)
    size = open_recording(recording).size
    if size is None:
        raise ValueError(f'{recording}: the file does not state the size of the sensor')
    pictures, written = trajectory_prompt(
        events, size, window_borders(recording, first), num_steps, official_quirks=official_quirks
    )
    with atomic_folder(target) as draft:
        for row, step in zip(*np.nonzero(written)):
            name = Path(
                rules.frame.format(index=row + rules.first, step=step + 1, steps=num_steps)
            ).name
            # OpenCV writes BGR: the channels on, off, trajectory are blue, green, red of the file
            if not cv2.imwrite(
                str(draft / f'{name}.png'), pictures[row, step].transpose(1, 2, 0), PNG
            ):
                raise OSError(f'{target / name}.png cannot be written')
    return int(written.sum())


def start_frames(root: str | os.PathLike) -> dict[str, int]:
    """Read FE108's ``pair.txt``: sequence -> number of skipped frames, the number there plus 1."""
    file, found = Path(root, 'pair.txt'), {}
    if not file.is_file():
        return found
    for number, line in enumerate(file.read_text().splitlines(), 1):
        words = line.split()
        if words and (len(words) != 2 or not words[1].isdigit()):
            raise ValueError(
                f'{file}, line {number}: expected a name and a number, found {line[:60]!r}'
            )
        if words:
            found[words[0]] = int(words[1]) + 1
    return found
