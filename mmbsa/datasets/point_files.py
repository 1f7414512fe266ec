"""Readers of point clouds and meshes: text, NumPy, HDF5 and OFF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def h5_arrays(
    path: str | Path, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return arrays of an HDF5 file by name.

    Args:
        path: the file.
        names: arrays that must exist.
        optional: arrays that are returned if they exist; none by default.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not HDF5, an array is missing, or the lengths of arrays differ.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist; expected a HDF5 file with {", ".join(names)}'
        )
    try:
        with h5py.File(path) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise ValueError(
                    f'{path} holds {sorted(file)}, but {", ".join(missing)} is expected'
                )
            arrays = {name: file[name][:] for name in (*names, *optional) if name in file}
    except OSError as error:
        raise ValueError(f'{path} is not an HDF5 file: {error}') from None
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'{path}: arrays differ in their lengths: {lengths}')
    return arrays


def read_points(path: str | Path) -> np.ndarray:
    """Read points (N, d) float32 from a text file or a ``.npy`` file.

    Args:
        path: the file; numbers in text are separated by commas or blanks.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the content is not a table of at least three columns.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; expected a file of points')
    try:
        if path.suffix == '.npy':
            points = np.load(path, allow_pickle=False)
        else:
            rows = [
                line.replace(',', ' ').split()
                for line in path.read_text().splitlines()
                if line.strip()
            ]
            points = np.array(rows, np.float32)
    except ValueError as error:
        raise ValueError(f'{path} is not a table of numbers: {error}') from None
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(
            f'{path}: expected points (N, d) with d >= 3, found an array {points.shape}'
        )
    return points.astype(np.float32)


def read_off(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read vertices (V, 3) float32 and triangles (F, 3) int64 of an OFF mesh.

    Polygons are divided into triangles. Files of ModelNet often have the counts directly after the
    word ``OFF`` on the same line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not begin with OFF, or has fewer entries than its counts.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; expected an OFF mesh')
    text = path.read_text()
    if not text.startswith('OFF'):
        raise ValueError(f"{path} must begin with 'OFF', found {text[:20]!r}")
    lines = [line.split('#')[0].split() for line in text[3:].splitlines()]
    lines = [line for line in lines if line]
    try:
        vertices, faces = int(lines[0][0]), int(lines[0][1])
        points = np.array([line[:3] for line in lines[1 : 1 + vertices]], np.float32)
        polygons = [
            [int(corner) for corner in line[1 : 1 + int(line[0])]]
            for line in lines[1 + vertices : 1 + vertices + faces]
        ]
        triangles = np.array(
            [
                (corners[0], corners[i], corners[i + 1])
                for corners in polygons
                for i in range(1, len(corners) - 1)
            ],
            np.int64,
        )
        whole = points.shape == (vertices, 3) and len(polygons) == faces
    except (IndexError, ValueError) as error:
        raise ValueError(f'{path} is a broken OFF mesh: {error}') from None
    if not whole or not len(triangles) or triangles.min() < 0 or triangles.max() >= vertices:
        raise ValueError(
            f'{path} is a broken OFF mesh: {vertices} vertices and {faces} faces are '
            'announced, found '
            f'{len(points)} and {len(polygons)}, with {len(triangles)} triangles'
        )
    return points, triangles


def sample_mesh(vertices: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    """Draw points uniformly from a surface, with normals: (count, 6) float32.

    Random numbers come from numpy's global generator.

    Args:
        vertices: corners (V, 3).
        triangles: indices of corners (F, 3).
        count: number of points.

    Raises:
        ValueError: the surface has no area.
    """
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    if not doubled.sum() > 0:
        raise ValueError('sample_mesh: the mesh has no area')
    face = np.random.choice(len(triangles), count, p=doubled / doubled.sum())
    u, v = np.random.rand(2, count, 1)
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    normals = cross[face] / np.maximum(doubled[face], 1e-12)[:, None]
    return np.concatenate([points, normals], 1).astype(np.float32)
