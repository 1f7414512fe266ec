"""Result files and annotations of single-object tracking as text, one row x, y, w, h per frame."""

import os
from pathlib import Path

import numpy as np

from mmbsa.utils.files import atomic_open


def write_result(path: str | os.PathLike, boxes: np.ndarray) -> None:
    """Write boxes (N, 4) in the official format: tab-separated integers, truncated towards zero.

    The file is written completely or not at all.

    Args:
        path: the file.
        boxes: (N, 4) x, y, w, h in pixels.

    Raises:
        ValueError: a value is not finite.
    """
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ValueError(
            f'{path}: row {row} (from 0) of the boxes is not finite: {rows[row].tolist()}'
        )
    with atomic_open(path) as file:
        file.write(''.join('\t'.join(str(int(v)) for v in row) + '\n' for row in rows).encode())


def write_times(path: str | os.PathLike, seconds: np.ndarray) -> None:
    """Write seconds per frame (N,), one per row, as in the official ``SEQ_time.txt``."""
    with atomic_open(path) as file:
        file.write(''.join(f'{float(value):.6f}\n' for value in seconds).encode())


def read_rows(path: str | os.PathLike, columns: int, allow_nan: bool = False) -> np.ndarray:
    """Read the numbers of a text file, (N, columns) float64; commas, tabs and blanks separate them.

    Args:
        path: the file.
        columns: number of columns.
        allow_nan: whether NaN is allowed; False by default.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a row has another number of columns, or other text; the message names file and
            line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: the file does not exist')
    rows = []
    for number, line in enumerate(
        path.read_text(encoding='utf-8', errors='replace').splitlines(), 1
    ):
        words = line.replace(',', ' ').replace(';', ' ').split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != columns or (not allow_nan and not np.isfinite(row).all()):
            raise ValueError(
                f'{path}, line {number}: expected {columns} '
                f'number{"s" if columns > 1 else ""}, found {line.strip()[:80]!r}'
            )
        rows.append(row)
    if not rows:
        raise ValueError(f'{path}: the file is empty')
    return np.array(rows, np.float64)


def read_boxes(path: str | os.PathLike, allow_nan: bool = True) -> np.ndarray:
    """Read boxes (N, 4) of a result or annotation file.

    Args:
        path: the file.
        allow_nan: whether NaN is allowed; True by default.
    """
    return read_rows(path, 4, allow_nan)


def read_absent(path: str | os.PathLike, present_is: int = 0) -> np.ndarray:
    """Read flags (N,) bool, true where the target is absent.

    Args:
        path: file with a 0 or 1 per frame.
        present_is: the number of frames with the target: 0 (default) in FE108 and VisEvent, 1 in
            COESOT.

    Raises:
        ValueError: the file has other numbers than 0 and 1.
    """
    path = Path(path)
    words = path.read_text().replace(',', ' ').split()
    if not words or set(words) - {'0', '1', '0.0', '1.0'}:
        wrong = next((word for word in words if word not in ('0', '1', '0.0', '1.0')), 'nothing')
        raise ValueError(f'{path}: expected a 0 or 1 per frame, found {wrong[:40]!r}')
    return np.array([int(float(word)) for word in words]) != present_is
