"""Miniatures of tracking benchmarks on disk, and frames whose pixels tell which frame they are."""

from pathlib import Path

import cv2
import numpy as np

from mmbsa.datasets.tracking.layouts import LAYOUTS

SIZE = (40, 60)


def boxes(length: int, start: int = 0) -> np.ndarray:
    """A box that moves by one pixel per frame."""
    rows = np.arange(length)[:, None] + start
    return np.concatenate([10 + rows, 8 + 0 * rows, 12 + 0 * rows, 9 + 0 * rows], 1).astype(float)


def frame(number: int, step: int = 1, size=SIZE) -> np.ndarray:
    """RGB picture whose channels are (10 * step, 100, number)."""
    return np.broadcast_to(np.array([10 * step, 100, number], np.uint8), (*size, 3)).copy()


def write_sequence(
    layout: str,
    root: Path,
    split: str,
    name: str,
    length: int = 24,
    steps: int = 1,
    absent=(),
    size=SIZE,
    separator: str = ',',
) -> Path:
    """One sequence in a benchmark's layout; returns its folder."""
    rules = LAYOUTS[layout]
    folder = Path(root, rules.folders[split], name)
    folder.mkdir(parents=True)
    rows = boxes(length)
    (folder / rules.boxes[0]).write_text(
        ''.join(separator.join(f'{v:g}' for v in row) + '\n' for row in rows)
    )
    if absent or rules.present_is:
        flags = [
            1 - rules.present_is if row in absent else rules.present_is for row in range(length)
        ]
        (folder / 'absent.txt').write_text(''.join(f'{flag}\n' for flag in flags))
    for row in range(length):
        for step in range(1, steps + 1):
            stem = rules.frame.format(
                name=name, index=row + rules.first, step=step, steps=steps, modality='dvs'
            )
            file = folder / f'{stem}{rules.endings[row % len(rules.endings)]}'
            file.parent.mkdir(exist_ok=True, parents=True)
            assert cv2.imwrite(str(file), frame(row, step, size)[..., ::-1])
    return folder
