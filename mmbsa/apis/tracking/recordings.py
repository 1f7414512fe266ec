"""Recordings as streams of frames, from event files or folders of frames that may still grow."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mmbsa.events import draw_trajectory, iter_events, iter_windows
from mmbsa.events.reading import open_recording
from mmbsa.structures.track_files import read_boxes

#: endings of frame files, and names of annotation files in the same folder.
ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png'}
ANNOTATIONS = ('groundtruth_rect.txt', 'groundtruth.txt')
#: seconds between two checks of a growing folder.
POLL = 0.05


@dataclass
class Source:
    """A stream of frames.

    Attributes:
        frames: iterator of frames (T, H, W, 3) uint8 with the channels of the benchmarks' loaders:
            trajectory, darker, brighter.
        boxes: annotation (N, 4) as x, y, w, h in pixels, or None.
        name: name of the recording.
    """

    frames: Iterator[np.ndarray]
    boxes: np.ndarray | None
    name: str


def open_source(
    path: str | os.PathLike,
    num_steps: int = 1,
    window: int = 20_000,
    follow: float = 0.0,
    sensor_size: Sequence[int] | None = None,
    repair: Sequence[str] = (),
) -> Source:
    """Open a recording as a stream of frames.

    Args:
        path: an event file; a folder of frames; or a folder of a sequence with frames in ``img`` or
            ``inter{T}_stack_3008``.
        num_steps: number of sub-frames T per frame, 1 by default.
        window: microseconds per frame, for event files only; 20,000 by default.
        follow: seconds without growth after which a growing file or folder counts as complete; 0 by
            default.
        sensor_size: (height, width) for event files that do not state it; None by default.
        repair: faults of event files that are repaired, see ``mmbsa.events.iter_events``; none by
            default.

    Raises:
        FileNotFoundError: the path does not exist, or the folder has no frames.
        ValueError: the file is not a recording, the size of the sensor is unknown, or the window
            cannot be divided by T.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, num_steps, follow)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such recording')
    if window < num_steps or window % num_steps:
        raise ValueError(
            f'a window of {window} microseconds cannot be cut into {num_steps} equal sub-frames'
        )
    size = sensor_size or open_recording(path, follow=follow).size
    if size is None:
        raise ValueError(
            f'{path}: the file does not state the size of the sensor; give sensor_size'
        )
    size = tuple(int(side) for side in size)
    boxes = next(
        (
            read_boxes(file)
            for file in (path.with_name(name) for name in ANNOTATIONS)
            if file.is_file()
        ),
        None,
    )
    events = iter_events(path, sensor_size=size, repair=tuple(repair), follow=follow)
    parts = draw_trajectory(iter_windows(events, duration=window // num_steps), size)
    return Source(_group(parts, num_steps), boxes, path.stem)


def _group(parts: Iterator[np.ndarray], num_steps: int) -> Iterator[np.ndarray]:
    """Group pictures (3, H, W) brighter, darker, trajectory into frames (T, H, W, 3).

    An incomplete last frame is omitted.
    """
    while len(group := list(islice(parts, num_steps))) == num_steps:
        yield np.ascontiguousarray(np.stack(group)[:, ::-1].transpose(0, 2, 3, 1))


def _open_folder(path: Path, num_steps: int, follow: float) -> Source:
    inside = [path / f'inter{num_steps}_stack_3008', path / 'img', path]
    folder = next((place for place in inside if place.is_dir() and _pictures(place)), None)
    if folder is None:
        raise FileNotFoundError(
            f'{path}: there are no frames ({", ".join(sorted(ENDINGS))}) in the folder, nor '
            f'in img or inter{num_steps}_stack_3008'
        )
    boxes = next(
        (
            read_boxes(place / name)
            for place in (path, path.parent)
            for name in ANNOTATIONS
            if (place / name).is_file()
        ),
        None,
    )
    return Source(_read_folder(folder, num_steps, follow), boxes, path.name)


def _pictures(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if Path(entry.name).suffix.lower() in ENDINGS and not entry.name.startswith('.')
    )


def _read_folder(folder: Path, num_steps: int, follow: float) -> Iterator[np.ndarray]:
    """Yield frames in the order of their names.

    Sub-frames end in ``_1`` to ``_T``; the first one replaces a missing one.
    """
    last, size, deadline = '', None, time.monotonic() + follow
    while True:
        # sub-frames are read together with the first sub-frame of their frame
        fresh = [
            name
            for name in _pictures(folder)
            if name > last and not re.fullmatch(r'.*_(?!1$)\d+', Path(name).stem)
        ]
        for name in fresh:
            first = _read(folder / name, deadline)
            if size is not None and first.shape != size:
                raise ValueError(
                    f'{folder / name}: the frame is {first.shape[1]} x {first.shape[0]} pixels, '
                    f'those before it are {size[1]} x {size[0]}'
                )
            stem, ending = os.path.splitext(name)
            steps = [first]
            for step in range(2, num_steps + 1):
                image = cv2.imread(str(folder / f'{stem.removesuffix("_1")}_{step}{ending}'))
                steps.append(
                    first if image is None or image.shape != first.shape else image[..., ::-1]
                )
            last, size, deadline = name, first.shape, time.monotonic() + follow
            yield np.stack(steps)
        if not fresh:
            if time.monotonic() >= deadline:
                return
            time.sleep(POLL)


def _read(file: Path, deadline: float) -> np.ndarray:
    """Read a picture as RGB; wait for a file that is still being written."""
    while True:
        image = cv2.imread(str(file))
        if image is not None:
            return np.ascontiguousarray(image[..., ::-1])
        if time.monotonic() >= deadline:
            raise ValueError(f'{file}: OpenCV cannot read this file as a picture')
        time.sleep(POLL)
