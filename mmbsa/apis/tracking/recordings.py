"""Recordings as a stream of frames: event files of any format, or folders of frames; both may still
grow.
"""

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

#: endings of frames, and names of annotations beside them.
ENDINGS = {'.bmp', '.jpeg', '.jpg', '.png'}
ANNOTATIONS = ('groundtruth_rect.txt', 'groundtruth.txt')
#: seconds between two looks at a folder that grows.
POLL = 0.05


@dataclass
class Source:
    """A stream of frames.

    Attributes:
        frames: yields (T, H, W, 3) uint8 in the channel order of the benchmarks' loaders:
            trajectory, darker, brighter.
        boxes: annotation (N, 4), or None.
        name: of the recording.
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
    """Open a recording.

    Args:
        path: an event file; or a folder of frames, or of a sequence whose frames lie in ``img`` or
            in ``inter{T}_stack_3008``.
        num_steps: T, sub-frames per frame.
        window: microseconds per frame; event files only.
        follow: seconds to wait for a growing file or folder to grow before it counts as ended.
        sensor_size: (height, width), for event files that do not state it.
        repair: faults of event files to repair, see ``mmbsa.events.iter_events``.

    Raises:
        FileNotFoundError: nothing there, or no frames in a folder.
        ValueError: a file that is no recording, a sensor of unknown size, or a window that T does
            not divide.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, num_steps, follow)
    if not path.exists():
        raise FileNotFoundError(f'{path}: there is no such recording')
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
    """Pictures (3, H, W) brighter, darker, trajectory -> frames (T, H, W, 3); an incomplete last
    one is left out.
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
    """Frames in the order of their names; sub-frames end in ``_1`` .. ``_T``, a missing one is the
    first.
    """
    last, size, deadline = '', None, time.monotonic() + follow
    while True:
        # sub-frames belong to the frame whose first one is listed
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
    """A picture as RGB; one that is being written is waited for."""
    while True:
        image = cv2.imread(str(file))
        if image is not None:
            return np.ascontiguousarray(image[..., ::-1])
        if time.monotonic() >= deadline:
            raise ValueError(f'{file}: this is no picture that OpenCV can read')
        time.sleep(POLL)
