"""Neighbours and samples of point clouds, exact, in plain torch.

Points are (T, B, N, 3); what belongs to them is a map (T, B, C, N, 1) in front of, and (T, B, C, M,
K) behind a grouping of K neighbours for each of M centres, so that all layers for images work on
them. Steps that are one memory (an expanded cloud) are searched once.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def once_for_equal_steps(search: Callable[..., Tensor], *clouds: Tensor) -> Tensor:
    """``search`` of (T, B, N, 3) clouds -> (T, B, *) indices; equal steps of all clouds are
    searched once."""
    steps = len(clouds[0])
    if steps > 1 and all(cloud.stride(0) == 0 for cloud in clouds):
        found = search(*(cloud[0] for cloud in clouds))
        return found.expand(steps, *found.shape)
    found = search(*(cloud.flatten(0, 1) for cloud in clouds))
    return found.unflatten(0, (steps, -1))


@torch.no_grad()
def farthest_points(xyz: Tensor, count: int, random_start: bool = False) -> Tensor:
    """Farthest point sampling: every point taken is the one farthest from all points taken before.

    No point is taken twice, even where points coincide. The lowest index wins among equally far
    points.

    Args:
        xyz: (B, N, 3) coordinates.
        count: S, points to take, in 1..N.
        random_start: draw the first point of every cloud from torch's global generator; otherwise
            it is point 0.

    Returns:
        (B, S) indices in the order of selection.

    Raises:
        ValueError: a count outside of 1..N.
    """
    batch, total = xyz.shape[:2]
    if not 1 <= count <= total:
        raise ValueError(
            f'farthest_points: count must lie in 1..{total}, the number of points; got {count}'
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
    """The ``count`` points nearest to each centre by squared distance; a centre among them is its
    own neighbour.

    Args:
        centres: (B, M, 3).
        xyz: (B, N, 3).
        count: K; all N points are taken where there are fewer.

    Returns:
        (B, M, min(K, N)) indices, nearest first.
    """
    distance = sum(
        (c.unsqueeze(2) - x.unsqueeze(1)) ** 2 for c, x in zip(centres.unbind(-1), xyz.unbind(-1))
    )
    return distance.topk(min(count, xyz.size(1)), dim=-1, largest=False).indices


def take(points: Tensor, index: Tensor) -> Tensor:
    """Rows of (T, B, N, C) at (T, B, *) indices -> (T, B, *, C); equal steps stay one memory."""
    steps, batch, total, channels = points.shape
    if steps > 1 and points.stride(0) == 0 and index.stride(0) == 0:
        taken = take(points[:1], index[:1])
        return taken.expand(steps, *taken.shape[1:])
    offset = torch.arange(steps * batch, device=points.device).mul_(total).view(steps, batch)
    rows = index.flatten(2) + offset.unsqueeze(-1)
    return points.reshape(-1, channels).index_select(0, rows.flatten()).view(*index.shape, channels)


def group(maps: Tensor, index: Tensor) -> Tensor:
    """Maps (T, B, C, N, 1) at (T, B, M, K) indices -> (T, B, C, M, K), channels last in memory."""
    return take(maps.squeeze(-1).transpose(2, 3), index).permute(0, 1, 4, 2, 3)


def offsets(centres: Tensor, xyz: Tensor, index: Tensor) -> Tensor:
    """Centre minus neighbour: (T, B, M, 3), (T, B, N, 3) and (T, B, M, K) indices -> map (T, B, 3,
    M, K)."""
    return (centres.unsqueeze(3) - take(xyz, index)).permute(0, 1, 4, 2, 3)
