"""Pictures of photos, grey pictures, event frames and sequences, and their file names."""

import os
from collections import Counter
from collections.abc import Container, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ON, OFF = (200, 40, 40), (40, 70, 200)


def to_picture(sample: np.ndarray, bgr: bool = True) -> np.ndarray:
    """Convert a sample to a picture, RGB uint8 (h, w, 3).

    Args:
        sample: a picture (H, W) or (H, W, C), or event frames (T, P, H, W), which are summed over
            T. Values other than uint8 are scaled to 0..255. Two channels are events, off and on.
        bgr: whether three channels are in the order BGR; True by default.
    """
    sample = np.asarray(sample)
    if sample.ndim == 4:
        sample = sample.sum(0).transpose(1, 2, 0)
    if sample.ndim == 2:
        sample = sample[..., None]
    if sample.shape[-1] == 2:
        return event_picture(sample.transpose(2, 0, 1))
    if sample.dtype != np.uint8:
        sample = sample.astype(np.float64)
        low, high = (sample.min(), sample.max()) if sample.size else (0, 0)
        if low < 0 or high > 255 or not np.array_equal(sample, np.round(sample)):
            sample = (sample - low) * (255 / (high - low) if high > low else 0)
        sample = sample.astype(np.uint8)
    if sample.shape[-1] < 3:
        sample = sample[..., :1].repeat(3, -1)
    return np.ascontiguousarray(sample[..., 2::-1] if bgr else sample[..., :3])


def event_picture(counts: np.ndarray) -> np.ndarray:
    """Draw counts of events (P, H, W) as blue (off) and red (on) on white, RGB uint8 (H, W, 3).

    P = 2 is off and on; P = 1 is on only.
    """
    counts = np.asarray(counts, np.float64)
    shares = np.abs(counts) / max(np.abs(counts).max(initial=0), 1e-12)
    off, on = (shares[0], shares[1]) if len(shares) > 1 else (0 * shares[0], shares[0])
    total = np.maximum(off + on, 1e-12)[..., None]
    colour = (off[..., None] * OFF + on[..., None] * ON) / total
    weight = np.clip(off + on, 0, 1)[..., None] ** 0.5  # so that single events are visible
    return (255 * (1 - weight) + colour * weight).round().astype(np.uint8)


def frame_sheet(frames: np.ndarray, limit: int = 8, gap: int = 2) -> np.ndarray:
    """Draw event frames (T, P, H, W) in rows, RGB uint8.

    Args:
        frames: event frames.
        limit: largest number of frames, 8 by default; neighbours are summed if there are more.
        gap: pixels between frames, 2 by default.
    """
    frames = np.asarray(frames)
    panels = [
        event_picture(group.sum(0)) for group in np.array_split(frames, min(limit, len(frames)))
    ]
    columns = int(np.ceil(np.sqrt(len(panels))))
    rows = -(-len(panels) // columns)
    height, width = panels[0].shape[:2]
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 160, np.uint8)
    for index, panel in enumerate(panels):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def enlarge(picture: np.ndarray, side: int = 128) -> np.ndarray:
    """Repeat pixels until both sides have at least ``side`` / 2 pixels and the longer one ``side``.

    Text in the picture is then readable; ``side`` is 128 by default.
    """
    height, width = picture.shape[:2]
    factor = max(-(-side // max(height, width)), 1)
    up, across = max(factor, side // 2 // height), max(factor, side // 2 // width)
    return cv2.resize(picture, (width * across, height * up), interpolation=cv2.INTER_NEAREST)


def unique_names(paths: Sequence[str]) -> dict[str, str]:
    """Return path -> a unique name without ending: its stem if no other file has it.

    Other files keep as many of their folders as all files have below their common folder, and their
    ending if that is not enough. A file has the same name in every process.
    """
    paths = sorted(set(paths))
    stems = Counter(Path(path).stem for path in paths)
    repeated = [path for path in paths if stems[Path(path).stem] > 1]
    root = _common_folder(repeated)
    without = Counter(os.path.splitext(os.path.relpath(path, root))[0] for path in repeated)
    names = {}
    for path in paths:
        name = Path(path).stem
        if stems[name] > 1:
            inner = os.path.relpath(path, root)
            bare = os.path.splitext(inner)[0]
            name = bare if without[bare] == 1 else inner
        names[path] = name
    if len(set(names.values())) < len(names):  # a stem with a dot equals another name with ending
        root = _common_folder(paths)
        names = {path: os.path.relpath(path, root) for path in paths}
    return names


def _common_folder(paths: Sequence[str]) -> str:
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    return os.path.commonpath(folders) if folders else '.'


def refuse_inputs(target: str | os.PathLike, inputs: Container[str]) -> None:
    """Check that a file to write is not one of the files that are read.

    Args:
        target: the file to write.
        inputs: real paths (``os.path.realpath``) of the files that are read.

    Raises:
        ValueError: it is one of them; the message names the file.
    """
    if os.path.realpath(target) in inputs:
        raise ValueError(
            f'{target} is an input file and would be overwritten; choose another '
            'folder for the output'
        )


class SampleNames:
    """File names for the pictures of a dataset's samples: unique, and never a file of the data.

    Args:
        dataset: a dataset of mmengine, or another one; without ``get_data_info`` a sample gets its
            name when it is first used.
    """

    def __init__(self, dataset: Any) -> None:
        infos = (
            [dataset.get_data_info(index) for index in range(len(dataset))]
            if hasattr(dataset, 'get_data_info')
            else []
        )
        found = [
            [str(info[key]) for info in infos if info.get(key)]
            for key in ('img_path', 'seg_map_path')
        ]
        self.names = unique_names(found[0])
        self.inputs = {
            os.path.realpath(path) for paths in found for path in paths if '://' not in path
        }

    def __getitem__(self, path: str) -> str:
        """Return the name of a sample from its ``img_path``."""
        if path not in self.names:
            stem, taken = Path(path).stem, set(self.names.values())
            number = next(n for n in count() if (f'{stem}_{n}' if n else stem) not in taken)
            self.names[path] = f'{stem}_{number}' if number else stem
        return self.names[path]

    def target(self, folder: str | os.PathLike, path: str, ending: str) -> str:
        """Return ``<folder>/<name><ending>`` for a sample.

        Args:
            folder: output folder.
            path: ``img_path`` of the sample.
            ending: ending of the file.

        Raises:
            ValueError: this is a file of the dataset.
        """
        target = os.path.join(folder, self[path] + ending)
        refuse_inputs(target, self.inputs)
        return target
