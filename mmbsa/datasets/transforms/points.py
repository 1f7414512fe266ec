"""Pipeline steps for point clouds ``points`` (N, d): coordinates, then normals or other features.

Random numbers come from numpy's global generator, which the data stream seeds per sample.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmbsa.datasets.point_files import read_off, read_points, sample_mesh
from mmbsa.registry import TRANSFORMS


class _PointStep(BaseTransform):
    """Base class: a step that returns a changed copy of the points."""

    def change(self, points: np.ndarray) -> np.ndarray:
        """Return changed points: (N, d) float32 -> (M, d); the input is not modified."""
        raise NotImplementedError(f'{type(self).__name__} must define change')

    def transform(self, results: dict) -> dict:
        """Change ``points`` of a sample."""
        if 'points' not in results:
            raise ValueError(f'{type(self).__name__} needs points; it comes after mmbsa.LoadPoints')
        results['points'] = self.change(np.asarray(results['points'], np.float32))
        return results

    def __repr__(self) -> str:
        arguments = ', '.join(f'{key}={value!r}' for key, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


@TRANSFORMS.register_module()
class LoadPoints(BaseTransform):
    """Read ``points`` (N, d) from the file ``points_path``, if the sample has no ``points``.

    Args:
        mesh_points: number of points drawn from the surface of an ``.off`` mesh, 2048 by default.

    Raises:
        ValueError: a sample has neither ``points_path`` nor ``points``.
    """

    def __init__(self, mesh_points: int = 2048) -> None:
        self.mesh_points = mesh_points

    def transform(self, results: dict) -> dict:
        """Add ``points`` (N, d) float32; a mesh gives coordinates and normals."""
        if 'points' in results:
            return results
        path = results.get('points_path')
        if path is None:
            raise ValueError('LoadPoints needs points_path or points in a sample')
        results['points'] = (
            sample_mesh(*read_off(path), self.mesh_points)
            if path.endswith('.off')
            else read_points(path)
        )
        return results


@TRANSFORMS.register_module()
class SamplePoints(_PointStep):
    """Select points of a cloud, and the first channels of every point.

    Args:
        num_points: number P of points in the result, default 1024.
        order: ``'first'`` (default) takes the first P points; ``'random'`` draws P points without
            replacement, or with replacement if the cloud has fewer than P.
        channels: number of channels in the result, for example 3 for the coordinates only; None
            (default) keeps all channels.

    Raises:
        ValueError: the cloud has fewer than P points with ``order='first'``, or fewer channels.
    """

    def __init__(
        self, num_points: int = 1024, order: str = 'first', channels: int | None = None
    ) -> None:
        if order not in ('first', 'random'):
            raise ValueError(f"SamplePoints: order must be 'first' or 'random', got {order!r}")
        self.num_points, self.order, self.channels = num_points, order, channels

    def change(self, points: np.ndarray) -> np.ndarray:
        """Select points: (N, d) -> (P, channels), float32."""
        total, width = points.shape
        if self.channels is not None and self.channels > width:
            raise ValueError(
                f'SamplePoints: channels={self.channels}, but the points have {width} numbers'
            )
        if self.order == 'random':
            points = points[
                np.random.choice(total, self.num_points, replace=total < self.num_points)
            ]
        elif total < self.num_points:
            raise ValueError(
                f'SamplePoints: num_points={self.num_points}, but the cloud has {total} points; '
                "order='random' repeats points"
            )
        return points[: self.num_points, : self.channels].copy()


@TRANSFORMS.register_module()
class NormalizePoints(_PointStep):
    """Move the mean of the coordinates to the origin and divide them by the largest radius."""

    def change(self, points: np.ndarray) -> np.ndarray:
        """Normalise the coordinates; other features are not changed."""
        xyz = points[:, :3] - points[:, :3].mean(0)
        radius = np.sqrt((xyz**2).sum(1).max())
        return np.concatenate([xyz / max(radius, 1e-12), points[:, 3:]], 1).astype(np.float32)


@TRANSFORMS.register_module()
class ShufflePoints(_PointStep):
    """Permute the points (the official training uses one permutation for all clouds of a batch)."""

    def change(self, points: np.ndarray) -> np.ndarray:
        """Permute the points."""
        return points[np.random.permutation(len(points))]


@TRANSFORMS.register_module()
class DropPoints(_PointStep):
    """Replace a random share of the points by point 0.

    Args:
        max_ratio: largest share, 0.2 by default; the share is drawn from U(0, max_ratio).

    Raises:
        ValueError: ``max_ratio`` is outside of [0, 1].
    """

    def __init__(self, max_ratio: float = 0.2) -> None:
        if not 0 <= max_ratio <= 1:
            raise ValueError(f'DropPoints: max_ratio must be in [0, 1], got {max_ratio}')
        self.max_ratio = max_ratio

    def change(self, points: np.ndarray) -> np.ndarray:
        """Replace random points by point 0."""
        dropped = np.random.rand(len(points)) <= np.random.rand() * self.max_ratio
        return np.where(dropped[:, None], points[:1], points)


@TRANSFORMS.register_module()
class ScalePoints(_PointStep):
    """Multiply the coordinates by a random factor.

    Args:
        low, high: range of the factor, which is drawn from U(low, high); 0.85 and 1.15 by default.
        per_axis: whether each axis has its own factor; normals are adapted. False by default.

    Raises:
        ValueError: not 0 < low <= high.
    """

    def __init__(self, low: float = 0.85, high: float = 1.15, per_axis: bool = False) -> None:
        if not 0 < low <= high:
            raise ValueError(
                f'ScalePoints: 0 < low <= high is expected, got low={low} and high={high}'
            )
        self.low, self.high, self.per_axis = low, high, per_axis

    def change(self, points: np.ndarray) -> np.ndarray:
        """Scale the coordinates."""
        factor = np.random.uniform(self.low, self.high, 3 if self.per_axis else 1).astype(
            np.float32
        )
        out = points.copy()
        out[:, :3] *= factor
        if self.per_axis and points.shape[1] >= 6:
            normals = points[:, 3:6] / factor
            out[:, 3:6] = normals / np.maximum(
                np.linalg.norm(normals, axis=1, keepdims=True), 1e-12
            )
        return out


@TRANSFORMS.register_module()
class ShiftPoints(_PointStep):
    """Move the cloud by a random vector.

    Args:
        limit: each coordinate moves by U(-limit, limit); 0.2 by default.
    """

    def __init__(self, limit: float = 0.2) -> None:
        self.limit = limit

    def change(self, points: np.ndarray) -> np.ndarray:
        """Shift the coordinates."""
        out = points.copy()
        out[:, :3] += np.random.uniform(-self.limit, self.limit, 3).astype(np.float32)
        return out


@TRANSFORMS.register_module()
class JitterPoints(_PointStep):
    """Add normal noise to every coordinate.

    Args:
        sigma: standard deviation of the noise, 0.01 by default.
        clip: largest absolute value of the noise, 0.05 by default.
    """

    def __init__(self, sigma: float = 0.01, clip: float = 0.05) -> None:
        self.sigma, self.clip = sigma, clip

    def change(self, points: np.ndarray) -> np.ndarray:
        """Add noise to the coordinates."""
        out = points.copy()
        noise = np.random.normal(0, self.sigma, (len(points), 3)).clip(-self.clip, self.clip)
        out[:, :3] += noise.astype(np.float32)
        return out


@TRANSFORMS.register_module()
class RotatePoints(_PointStep):
    """Rotate coordinates and normals around the origin.

    Args:
        axis: ``'x'``, ``'y'`` (default) or ``'z'``, or ``'any'`` for uniformly distributed
            rotations.
        limit: largest angle around an axis in degrees, drawn from U(-limit, limit); 180 by default.

    Raises:
        ValueError: the axis is unknown.
    """

    def __init__(self, axis: str = 'y', limit: float = 180.0) -> None:
        if axis not in ('x', 'y', 'z', 'any'):
            raise ValueError(f"RotatePoints: axis must be 'x', 'y', 'z' or 'any', got {axis!r}")
        self.axis, self.limit = axis, limit

    def change(self, points: np.ndarray) -> np.ndarray:
        """Rotate the points."""
        if self.axis == 'any':
            matrix = random_rotation(np.random)
        else:
            matrix = rotation_about(
                self.axis, np.deg2rad(np.random.uniform(-self.limit, self.limit))
            )
        return rotate(points, matrix)


def random_rotation(random: np.random.Generator | object) -> np.ndarray:
    """Return a uniformly distributed rotation matrix (3, 3).

    Args:
        random: random generator with the method ``standard_normal``.
    """
    q, r = np.linalg.qr(random.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return q


def rotation_about(axis: str, angle: float) -> np.ndarray:
    """Return the rotation matrix (3, 3) around axis ``'x'``, ``'y'`` or ``'z'``.

    Args:
        axis: name of the axis.
        angle: angle in radians.
    """
    place = 'xyz'.index(axis)
    first, second = (place + 1) % 3, (place + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def rotate(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return points with coordinates, and normals if present, rotated by ``matrix`` (3, 3)."""
    matrix = matrix.astype(np.float32)
    parts = [points[:, :3] @ matrix.T]
    if points.shape[1] >= 6:
        parts.append(points[:, 3:6] @ matrix.T)
    return np.concatenate([*parts, points[:, 3 * len(parts) :]], 1)


@TRANSFORMS.register_module()
class PackPoints(BaseTransform):
    """Last step of a pipeline: pack points and label for models of mmpretrain.

    Added keys: ``inputs`` (P, d) tensor and ``data_samples`` with the label.

    Args:
        meta_keys: keys of a sample that are copied to ``data_samples`` if present;
            ``('sample_idx', 'points_path')`` by default.
    """

    def __init__(self, meta_keys: Sequence[str] = ('sample_idx', 'points_path')) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack the sample."""
        from mmpretrain.structures import DataSample

        points = np.ascontiguousarray(results['points'], np.float32)
        if points.ndim != 2:
            raise ValueError(f'PackPoints: points must be (P, d), got {points.shape}')
        sample = DataSample()
        if 'gt_label' in results:
            sample.set_gt_label(results['gt_label'])
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        return dict(inputs=torch.from_numpy(points), data_samples=sample)
