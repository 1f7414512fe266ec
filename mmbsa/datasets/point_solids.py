"""A point cloud dataset without files: every cloud is drawn when it is loaded."""

from collections.abc import Callable

import numpy as np

from mmbsa.datasets.classification import ClassificationDataset
from mmbsa.datasets.transforms.points import random_rotation, rotate, rotation_about
from mmbsa.registry import DATASETS

Random = np.random.Generator
#: seeds of the splits: the same index in two splits gives two unrelated clouds.
SPLIT_SEEDS = {'train': 0, 'val': 1, 'test': 2}


def _directions(random: Random, count: int) -> np.ndarray:
    points = random.standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _circle(random: Random, count: int) -> np.ndarray:
    angle = random.uniform(0, 2 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _disc(random: Random, count: int, radius: float, height: float) -> np.ndarray:
    plane = _circle(random, count) * radius * np.sqrt(random.random((count, 1)))
    return np.concatenate([plane, np.full((count, 1), height)], 1)


def _mixed(
    random: Random, count: int, parts: list[tuple[float, Callable[[int], np.ndarray]]]
) -> np.ndarray:
    """Draw points from several surfaces in proportion to their areas."""
    areas = np.array([area for area, _ in parts])
    counts = random.multinomial(count, areas / areas.sum())
    return np.concatenate([draw(n) for n, (_, draw) in zip(counts, parts)])


def _triangles(random: Random, count: int, corners: np.ndarray) -> np.ndarray:
    """Draw points on triangles (F, 3, 3)."""
    a, b, c = corners.swapaxes(0, 1)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    face = random.choice(len(corners), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face]


def _pyramid(random: Random, count: int, base: np.ndarray, apex: np.ndarray) -> np.ndarray:
    """Draw points on the surface over a convex base (n, 3)."""
    following = np.roll(base, -1, 0)
    sides = [(p, q, apex) for p, q in zip(base, following)]
    floor = [(base[0], base[i], base[i + 1]) for i in range(1, len(base) - 1)]
    return _triangles(random, count, np.array(sides + floor))


def sphere(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a ball, up to 10 % flattened."""
    return _directions(random, count) * random.uniform(0.9, 1, 3)


def box(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a cuboid with sides of 0.6 to 1."""
    sides = random.uniform(0.6, 1, 3)
    area = np.array([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]])
    axis = random.choice(3, count, p=area / area.sum())
    points = random.uniform(-1, 1, (count, 3))
    points[np.arange(count), axis] = random.choice([-1.0, 1.0], count)
    return points * sides


def cylinder(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a cylinder with both lids."""
    radius, half = random.uniform(0.4, 0.6), random.uniform(0.8, 1.1)

    def wall(n: int) -> np.ndarray:
        return np.concatenate([_circle(random, n) * radius, random.uniform(-half, half, (n, 1))], 1)

    lid = np.pi * radius**2
    return _mixed(
        random,
        count,
        [
            (4 * np.pi * radius * half, wall),
            (lid, lambda n: _disc(random, n, radius, half)),
            (lid, lambda n: _disc(random, n, radius, -half)),
        ],
    )


def cone(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a cone with its base."""
    radius, height = random.uniform(0.6, 0.8), random.uniform(1.4, 1.8)

    def wall(n: int) -> np.ndarray:
        share = np.sqrt(random.random((n, 1)))
        return np.concatenate([_circle(random, n) * radius * share, height * (1 - share)], 1)

    return _mixed(
        random,
        count,
        [
            (np.pi * radius * np.hypot(radius, height), wall),
            (np.pi * radius**2, lambda n: _disc(random, n, radius, 0)),
        ],
    )


def torus(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a ring."""
    tube = random.uniform(0.2, 0.32)
    around = random.uniform(0, 2 * np.pi, 8 * count)
    # the outer side of a ring has a larger area
    around = around[random.random(8 * count) * (1 + tube) < 1 + tube * np.cos(around)][:count]
    ring = _circle(random, count) * (1 + tube * np.cos(around))[:, None]
    return np.concatenate([ring, tube * np.sin(around)[:, None]], 1)


def tetrahedron(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a regular tetrahedron, up to 10 % stretched."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    faces = corners[np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])]
    return _triangles(random, count, faces) * random.uniform(0.9, 1, 3)


def pyramid(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a pyramid over a square."""
    base = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], float) * 0.8
    return _pyramid(random, count, base, np.array([0, 0, random.uniform(1.2, 1.7)]))


def helix(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of a wire with two to three turns."""
    turns, wire = random.uniform(2, 3), random.uniform(0.08, 0.14)
    way = random.uniform(0, 1, count)
    angle = 2 * np.pi * turns * way
    centre = np.stack([0.6 * np.cos(angle), 0.6 * np.sin(angle), 2 * way - 1], 1)
    return centre + wire * _directions(random, count)


def cross(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of three bars at right angles."""
    thick = random.uniform(0.15, 0.25)
    points = box(random, count) * [1, thick, thick]
    turned = random.integers(3, size=count)
    return np.take_along_axis(points, (np.arange(3) - turned[:, None]) % 3, 1)


def bowl(random: Random, count: int) -> np.ndarray:
    """Draw points (count, 3) of half of a hollow sphere, open at the top."""
    points = _directions(random, count)
    points[:, 2] = -np.abs(points[:, 2])
    return points * np.array([1, 1, random.uniform(0.8, 1)])


#: class -> function from (random, count) to points (count, 3) on its surface; labels are positions.
SOLIDS = dict(
    sphere=sphere,
    box=box,
    cylinder=cylinder,
    cone=cone,
    torus=torus,
    tetrahedron=tetrahedron,
    pyramid=pyramid,
    helix=helix,
    cross=cross,
    bowl=bowl,
)


def draw_solid(
    name: str, random: Random, num_points: int, noise: float, occlusion: float, rotation: str
) -> np.ndarray:
    """Draw one cloud (num_points, 3) float32, centred, with largest radius 1.

    Args:
        name: one of ``SOLIDS``.
        random: source of all random numbers.
        num_points: number of points P.
        noise: standard deviation of the noise on every coordinate, for a solid of radius 1.
        occlusion: largest share of the surface that is removed; the share is drawn from
            U(0, occlusion), and the points farthest along a random direction are removed.
        rotation: ``'any'`` rotates around a random axis, ``'vertical'`` around the z axis,
            ``'none'`` does not rotate.
    """
    hidden = random.uniform(0, occlusion)
    count = int(np.ceil(num_points / (1 - hidden)))
    points = SOLIDS[name](random, count)
    points = points - points.mean(0)
    points = points / np.linalg.norm(points, axis=1).max()
    if rotation == 'any':
        points = rotate(points.astype(np.float32), random_rotation(random))
    elif rotation == 'vertical':
        points = rotate(
            points.astype(np.float32), rotation_about('z', random.uniform(0, 2 * np.pi))
        )
    view = _directions(random, 1)[0]
    points = points[np.argsort(points @ view, kind='stable')[:num_points]]
    points = points[random.permutation(num_points)] + noise * random.standard_normal(
        (num_points, 3)
    )
    points = points - points.mean(0)
    return (points / np.linalg.norm(points, axis=1).max()).astype(np.float32)


@DATASETS.register_module()
class PointSolids(ClassificationDataset):
    """Clouds on the surfaces of ten kinds of solids, drawn deterministically from (split, index).

    Sizes vary; clouds are rotated, partly occluded and noisy. A sample has ``points`` (P, 3) and
    ``gt_label``; the classes alternate.

    Args:
        length: number of clouds, 2000 by default.
        split: ``'train'`` (default), ``'val'`` or ``'test'``; two splits have no cloud in common.
        num_points: number of points P, 256 by default.
        noise: standard deviation of the noise on every coordinate, 0.02 by default.
        occlusion: largest share of the surface that is removed, 0.3 by default.
        rotation: ``'any'`` (default), ``'vertical'`` or ``'none'``, see :func:`draw_solid`.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        ValueError: ``length`` or ``num_points`` is below 1, ``noise`` is negative, ``occlusion`` is
            outside of [0, 0.9], or the rotation is unknown.
    """

    METAINFO = dict(classes=tuple(SOLIDS))
    SPLITS = tuple(SPLIT_SEEDS)

    def __init__(
        self,
        length: int = 2000,
        split: str = 'train',
        num_points: int = 256,
        noise: float = 0.02,
        occlusion: float = 0.3,
        rotation: str = 'any',
        **kwargs,
    ) -> None:
        for key, value in (('length', length), ('num_points', num_points)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f'mmbsa.PointSolids: {key} must be a positive integer, got {value!r}'
                )
        if noise < 0 or not 0 <= occlusion <= 0.9:
            raise ValueError(
                'mmbsa.PointSolids: noise must be >= 0 and occlusion in [0, 0.9], got '
                f'noise={noise} and occlusion={occlusion}'
            )
        if rotation not in ('any', 'vertical', 'none'):
            raise ValueError(
                f"mmbsa.PointSolids: rotation must be 'any', 'vertical' or 'none', got {rotation!r}"
            )
        self.length = length
        self.options = dict(
            num_points=num_points, noise=noise, occlusion=occlusion, rotation=rotation
        )
        super().__init__('.', split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe every cloud by its index and label."""
        return [dict(index=index, gt_label=index % len(SOLIDS)) for index in range(self.length)]

    def get_data_info(self, idx: int) -> dict:
        """Draw the cloud of a sample."""
        info = super().get_data_info(idx)
        random = np.random.default_rng((SPLIT_SEEDS[self.split], info['index']))
        info['points'] = draw_solid(tuple(SOLIDS)[info['gt_label']], random, **self.options)
        return info

    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all samples without drawing them, (N,) int64."""
        return np.array(
            [super(PointSolids, self).get_data_info(i)['gt_label'] for i in range(len(self))],
            np.int64,
        )
