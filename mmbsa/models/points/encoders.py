"""Point encoders: select the points of a cloud that are the input in each of T time steps.

These are the four encoders of Spiking Point Transformer (AAAI 2025). All keep the features of a
point together with its coordinates.
"""

import torch
from torch import Tensor, nn

from mmbsa.models.points.geometry import farthest_points, take
from mmbsa.registry import MODELS


class PointEncoder(nn.Module):
    """Base class of the encoders of point clouds: (B, P, d) -> (T, B, S, d).

    B is the batch, P the number of points, S the number of points per time step, and d the number
    of channels of a point; the first three channels are the coordinates.

    Args:
        num_steps: number T of time steps, at least 1, default 1.

    Raises:
        ValueError: T < 1, or an input that is not (B, P, d) with d >= 3.
    """

    def __init__(self, num_steps: int = 1):
        super().__init__()
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(
                f'{type(self).__name__}: num_steps must be an integer >= 1, got {num_steps!r}'
            )
        self.num_steps = num_steps

    def forward(self, points: Tensor) -> Tensor:
        """Check the shape of the clouds (B, P, d) and return their code (T, B, S, d)."""
        if points.ndim != 3 or points.size(-1) < 3:
            raise ValueError(
                f'{type(self).__name__}: expected clouds (B, P, d) with d >= 3, got '
                f'{tuple(points.shape)}'
            )
        return self.encode(points)

    def encode(self, points: Tensor) -> Tensor:
        """Return the code (T, B, S, d) of clouds (B, P, d); subclasses define it."""
        raise NotImplementedError(f'{type(self).__name__} must define encode')

    def extra_repr(self) -> str:
        """Return the number of steps for ``repr``."""
        return f'num_steps={self.num_steps}'


@MODELS.register_module()
class PointDirectEncoder(PointEncoder):
    """Direct encoding: the whole cloud in every time step, S = P.

    The steps share memory, so neighbours are searched only once. The argument is that of
    :class:`PointEncoder`.
    """

    def encode(self, points: Tensor) -> Tensor:
        """Return clouds (B, P, d) as an expanded view (T, B, P, d)."""
        return points.expand(self.num_steps, *points.shape)


class _Sampling(PointEncoder):
    """Base class of encoders with S = max(P // T, ``num_samples``) points per step.

    Args:
        num_steps: T, the number of time steps; default 1.
        num_samples: smallest number of points per step; default 512.
    """

    def __init__(self, num_steps: int = 1, num_samples: int = 512):
        super().__init__(num_steps)
        self.num_samples = num_samples

    def samples(self, points: Tensor) -> int:
        """Return S for clouds (B, P, d).

        Raises:
            ValueError: a cloud has fewer points than ``num_samples``.
        """
        if points.size(1) < self.num_samples:
            raise ValueError(
                f'encoder.num_samples={self.num_samples} must be at most the number of points of '
                f'a cloud, got clouds of {points.size(1)} points'
            )
        return max(points.size(1) // self.num_steps, self.num_samples)

    def extra_repr(self) -> str:
        """Return the sizes for ``repr``."""
        return f'{super().extra_repr()}, num_samples={self.num_samples}'


@MODELS.register_module()
class PointQueueEncoder(_Sampling):
    """Queue encoding (Q-SDE): S points per time step, of which the oldest are replaced in the next
    step.

    The first step is a farthest point sample of S points. Every further step removes the oldest r =
    (P - S) // (T - 1) points from the queue and appends a farthest point sample of r points from
    those not used so far. If no unused points are left, the previous step is repeated.

    Args:
        num_steps: T, the number of time steps; default 1.
        num_samples: smallest number of points per step; S is max(P // T, ``num_samples``); default
            512.
        random_start: whether every sampling in training starts at a random point; default False. In
            evaluation it always starts at the first point; the official code always starts at a
            random point.
        official_quirks: whether to reproduce a mistake of the official code, which samples indices
            among the *unused* points but takes the points with these indices from the *whole*
            cloud, so that a queue of more than two steps may contain a point twice; default False.
    """

    def __init__(
        self,
        num_steps: int = 1,
        num_samples: int = 512,
        random_start: bool = False,
        official_quirks: bool = False,
    ):
        super().__init__(num_steps, num_samples)
        self.random_start, self.official_quirks = random_start, official_quirks

    @torch.no_grad()
    def queue(self, xyz: Tensor, size: int) -> Tensor:
        """Return the indices (T, B, S) of the points of every step.

        Args:
            xyz: coordinates (B, P, 3).
            size: S, number of points per step.
        """
        batch, total = xyz.shape[:2]
        moved = (total - size) // (self.num_steps - 1) if self.num_steps > 1 else 0
        unused = torch.arange(total, device=xyz.device).expand(batch, total)
        steps = []
        for step in range(self.num_steps):
            count = moved if step else size
            if not count or not unused.size(1):
                steps.append(steps[-1])
                continue
            remaining = xyz.gather(1, unused.unsqueeze(-1).expand(-1, -1, 3))
            found = farthest_points(remaining, count, self.random_start and self.training)
            new = found if self.official_quirks else unused.gather(1, found)
            keep = torch.ones_like(unused, dtype=torch.bool).scatter_(1, found, False)
            unused = unused[keep].view(batch, -1)
            steps.append(torch.cat([steps[-1][:, count:], new], 1) if step else new)
        return torch.stack(steps)

    def encode(self, points: Tensor) -> Tensor:
        """Return the points (T, B, S, d) of every step for clouds (B, P, d)."""
        index = self.queue(points[..., :3].detach(), self.samples(points))
        return take(points.expand(self.num_steps, *points.shape), index)


@MODELS.register_module()
class PointScanEncoder(_Sampling):
    """Scan encoding (scan-SDE): T * S points in the order of their x coordinate, cut into T steps.

    At the end of the cloud the scan continues at the start. The arguments are ``num_steps`` (T,
    default 1) and ``num_samples`` (smallest number of points per step, default 512).
    """

    def encode(self, points: Tensor) -> Tensor:
        """Return the points (T, B, S, d) of every step for clouds (B, P, d)."""
        batch, total, size = *points.shape[:2], self.samples(points)
        order = points[..., 0].detach().argsort(dim=1, stable=True)
        places = torch.arange(self.num_steps * size, device=points.device) % total
        index = order[:, places].view(batch, self.num_steps, size).transpose(0, 1)
        return take(points.expand(self.num_steps, *points.shape), index)


@MODELS.register_module()
class PointRandomEncoder(PointEncoder):
    """Random encoding (random-SDE): P / T points per step in the order of the cloud, which is
    shuffled in training.

    The argument is that of :class:`PointEncoder`.
    """

    def encode(self, points: Tensor) -> Tensor:
        """Return the points (T, B, P / T, d) of every step for clouds (B, P, d)."""
        if points.size(1) % self.num_steps:
            raise ValueError(
                f'PointRandomEncoder: num_steps={self.num_steps} does not divide the '
                f'{points.size(1)} points of a cloud'
            )
        return points.unflatten(1, (self.num_steps, -1)).transpose(0, 1)
