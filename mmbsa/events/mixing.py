"""Masks over (T, H, W) that select parts of a sample to be replaced by another sample."""

import numpy as np

Shape = tuple[int, int, int]


def _check(shape: Shape, share: float) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f'shape must be (T, H, W) without zeros, got {shape!r}')
    if not 0 <= share <= 1:
        raise ValueError(f'share must be in [0, 1], got {share!r}')


def gaussian_mask(
    shape: Shape,
    share: float,
    rng: np.random.Generator | np.random.RandomState,
    num_gaussians: int = 3,
) -> np.ndarray:
    """Return a mask of soft regions in space and time, after EventMix (arXiv 2205.12054).

    A mixture of Gaussians with random centres and widths is drawn over (T, H, W); the mask is its
    densest part. In contrast to a box, it does not cut moving objects along straight lines, and it
    does not cover the same pixels at all times.

    Args:
        shape: (T, H, W).
        share: share of the volume inside the mask, in [0, 1] (rounded to whole cells).
        rng: random generator.
        num_gaussians: number of components of the mixture, 3 by default.

    Returns:
        Boolean (T, H, W).

    Raises:
        ValueError: a dimension of ``shape`` is 0, or ``share`` is outside of [0, 1].
    """
    _check(shape, share)
    axes = [(np.arange(length) + 0.5) / length for length in shape]
    density = np.zeros(shape)
    for _ in range(num_gaussians):
        centres, widths = rng.uniform(0, 1, 3), rng.uniform(0.1, 0.5, 3)
        t, y, x = (
            np.exp(-(((axis - centre) / width) ** 2) / 2)
            for axis, centre, width in zip(axes, centres, widths)
        )
        density += t[:, None, None] * y[:, None] * x
    covered = round(share * density.size)
    mask = np.zeros(density.size, bool)
    mask[np.argsort(-density, axis=None, kind='stable')[:covered]] = True
    return mask.reshape(shape)


def box_mask(
    shape: Shape, share: float, rng: np.random.Generator | np.random.RandomState
) -> np.ndarray:
    """Return the mask of CutMix (Yun et al., 2019): one box, the same in all frames.

    Args:
        shape: (T, H, W).
        share: share of the area of the box, in [0, 1]; the box is clipped at the border, so it may
            cover less.
        rng: random generator.

    Returns:
        Boolean (T, H, W).

    Raises:
        ValueError: a dimension of ``shape`` is 0, or ``share`` is outside of [0, 1].
    """
    _check(shape, share)
    _, height, width = shape
    middle_y, middle_x = rng.uniform(0, height), rng.uniform(0, width)
    half_y, half_x = height * share**0.5 / 2, width * share**0.5 / 2
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    rows = (rows >= middle_y - half_y) & (rows < middle_y + half_y)
    columns = (columns >= middle_x - half_x) & (columns < middle_x + half_x)
    return np.broadcast_to(rows[:, None] & columns, shape).copy()


def mix_frames(
    frames: np.ndarray, others: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, float]:
    """Replace the masked part of ``frames`` by ``others``.

    Args:
        frames, others: (T, P, H, W).
        mask: boolean (T, H, W).

    Returns:
        The mixed frames, and the share of their events from ``others`` (the weight of its label);
        without any event, the share of the volume.

    Raises:
        ValueError: the shapes do not match.
    """
    if frames.shape != others.shape or mask.shape != (frames.shape[0], *frames.shape[2:]):
        raise ValueError(
            f'frames {frames.shape}, others {others.shape} and the mask {mask.shape} do not fit '
            'each other: expected (T, P, H, W) twice and (T, H, W)'
        )
    mixed = np.where(mask[:, None], others, frames)
    total = float(mixed.sum())
    return mixed, float((mixed * mask[:, None]).sum()) / total if total else float(mask.mean())
