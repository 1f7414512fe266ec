"""Exact neighbours and samples of point clouds in plain torch.

Points are (T, B, N, 3). Their features are maps (T, B, C, N, 1), or (T, B, C, M, K) after grouping
K neighbours for each of M centres, so that all layers for images work on them. Steps that share
memory (an expanded cloud) are searched once.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def once_for_equal_steps(search: Callable[..., Tensor], *clouds: Tensor) -> Tensor:
    """Return the indices (T, B, *) that ``search`` finds in clouds (T, B, N, 3); steps that share
    memory are searched once."""
    steps = len(clouds[0])
    if steps > 1 and all(cloud.stride(0) == 0 for cloud in clouds):
        found = search(*(cloud[0] for cloud in clouds))
        return found.expand(steps, *found.shape)
    found = search(*(cloud.flatten(0, 1) for cloud in clouds))
    return found.unflatten(0, (steps, -1))


@torch.no_grad()
def farthest_points(xyz: Tensor, count: int, random_start: bool = False) -> Tensor:
    """Select points by farthest point sampling: each point is the one farthest from all points
    selected before.

    No point is selected twice, even if points coincide. Among equally far points the lowest index
    is selected.

    Args:
        xyz: coordinates (B, N, 3).
        count: S, number of points to select, in 1..N.
        random_start: whether the first point of every cloud is random, from torch's global
            generator; default False means point 0.

    Returns:
        Indices (B, S) in the order of selection.

    Raises:
        ValueError: ``count`` is outside of 1..N.
    """
    batch, total = xyz.shape[:2]
    if not 1 <= count <= total:
        raise ValueError(
            f'farthest_points: count must be in 1..{total}, the number of points, got {count}'
        )
    axes = xyz.unbind(-1)
    taken = torch.empty(count, batch, 1, dtype=torch.long, device=xyz.device)
    distance = torch.full_like(axes[0], float('inf'))
    index = (
        torch.randint(total, (batch, 1), device=xyz.device)
        if random_start
        else taken.new_zeros(batch, 1)
    )
    for place in taken:
        place.copy_(index)
        torch.minimum(distance, sum((x - x.gather(1, index)) ** 2 for x in axes), out=distance)
        distance.scatter_(1, index, -1.0)
        index = distance.argmax(1, keepdim=True)
    return taken.squeeze(-1).T.contiguous()


@torch.no_grad()
def nearest_points(centres: Tensor, xyz: Tensor, count: int) -> Tensor:
    """Return the ``count`` points that are nearest to each centre; a centre that is one of the
    points is its own neighbour.

    Args:
        centres: coordinates (B, M, 3) of the centres.
        xyz: coordinates (B, N, 3) of the points.
        count: K, number of neighbours; if N is smaller, all N points.

    Returns:
        Indices (B, M, min(K, N)), nearest first.
    """
    distance = sum(
        (c.unsqueeze(2) - x.unsqueeze(1)) ** 2 for c, x in zip(centres.unbind(-1), xyz.unbind(-1))
    )
    return distance.topk(min(count, xyz.size(1)), dim=-1, largest=False).indices


def take(points: Tensor, index: Tensor) -> Tensor:
    """Return the rows (T, B, *, C) of ``points`` (T, B, N, C) at the indices (T, B, *); equal steps
    keep sharing memory."""
    steps, batch, total, channels = points.shape
    if steps > 1 and points.stride(0) == 0 and index.stride(0) == 0:
        taken = take(points[:1], index[:1])
        return taken.expand(steps, *taken.shape[1:])
    offset = torch.arange(steps * batch, device=points.device).mul_(total).view(steps, batch)
    rows = index.flatten(2) + offset.unsqueeze(-1)
    return points.reshape(-1, channels).index_select(0, rows.flatten()).view(*index.shape, channels)


def group(maps: Tensor, index: Tensor) -> Tensor:
    """Return maps (T, B, C, M, K) of neighbours, channels last in memory.

    Args:
        maps: maps (T, B, C, N, 1).
        index: indices (T, B, M, K) of the neighbours.
    """
    return take(maps.squeeze(-1).transpose(2, 3), index).permute(0, 1, 4, 2, 3)


def offsets(centres: Tensor, xyz: Tensor, index: Tensor) -> Tensor:
    """Return centre minus neighbour as a map (T, B, 3, M, K).

    Args:
        centres: coordinates (T, B, M, 3) of the centres.
        xyz: coordinates (T, B, N, 3) of the points.
        index: indices (T, B, M, K) of the neighbours.
    """
    return (centres.unsqueeze(3) - take(xyz, index)).permute(0, 1, 4, 2, 3)
