"""Point encoders: what a cloud of P points shows the network in each of T steps.

The four of Spiking Point Transformer (AAAI 2025). All keep the features of a point beside its
coordinates.
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
        """Check the shape of the clouds and encode them: (B, P, d) -> (T, B, S, d)."""
        if points.ndim != 3 or points.size(-1) < 3:
            raise ValueError(
                f'{type(self).__name__}: expected clouds (B, P, d) with d >= 3, got '
                f'{tuple(points.shape)}'
            )
        return self.encode(points)

    def encode(self, points: Tensor) -> Tensor:
        """(B, P, d) -> (T, B, S, d)."""
        raise NotImplementedError(f'{type(self).__name__} must define encode')

    def extra_repr(self) -> str:
        """Steps."""
        return f'num_steps={self.num_steps}'


@MODELS.register_module()
class PointDirectEncoder(PointEncoder):
    """The whole cloud in every step, S = P; the steps are one memory, and neighbours are searched
    once."""

    def encode(self, points: Tensor) -> Tensor:
        """(B, P, d) -> (T, B, P, d), an expanded view."""
        return points.expand(self.num_steps, *points.shape)


class _Sampling(PointEncoder):
    """An encoder of S = max(P // T, ``num_samples``) points per step.

    Args:
        num_steps: T.
        num_samples: points of a step at least.
    """

    def __init__(self, num_steps: int = 1, num_samples: int = 512):
        super().__init__(num_steps)
        self.num_samples = num_samples

    def samples(self, points: Tensor) -> int:
        """S for clouds (B, P, d).

        Raises:
            ValueError: fewer points than ``num_samples``.
        """
        if points.size(1) < self.num_samples:
            raise ValueError(
                f'encoder.num_samples={self.num_samples} needs clouds of as many points at least, '
                f'got {points.size(1)} points'
            )
        return max(points.size(1) // self.num_steps, self.num_samples)

    def extra_repr(self) -> str:
        """Sizes."""
        return f'{super().extra_repr()}, num_samples={self.num_samples}'


@MODELS.register_module()
class PointQueueEncoder(_Sampling):
    """A queue of S points that moves through the cloud (Q-SDE).

    The first step is a farthest point sample of S points. Every further step drops the oldest
    r = (P - S) // (T - 1) points of the queue and appends r points, farthest from each other, of
    those not used so far; where none are left the step before is repeated.

    Args:
        num_steps, num_samples: T; S is max(P // T, ``num_samples``).
        random_start: begin every sampling of a training at a random point, as the official code
            does always; in evaluation it is the first point.
        official_quirks: the official code finds r of the *remaining* points but then takes the
            points with these numbers from the *whole* cloud, so that a queue of more than two steps
            may hold a point twice. False takes the points that were found.
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
        """(B, P, 3) -> (T, B, S) indices."""
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
        """(B, P, d) -> (T, B, S, d)."""
        index = self.queue(points[..., :3].detach(), self.samples(points))
        return take(points.expand(self.num_steps, *points.shape), index)


@MODELS.register_module()
class PointScanEncoder(_Sampling):
    """Slabs along x: T * S points in the order of x, cut into T steps; the scan starts again at the
    end of the cloud (scan-SDE)."""

    def encode(self, points: Tensor) -> Tensor:
        """(B, P, d) -> (T, B, S, d)."""
        batch, total, size = *points.shape[:2], self.samples(points)
        order = points[..., 0].detach().argsort(dim=1, stable=True)
        places = torch.arange(self.num_steps * size, device=points.device) % total
        index = order[:, places].view(batch, self.num_steps, size).transpose(0, 1)
        return take(points.expand(self.num_steps, *points.shape), index)


@MODELS.register_module()
class PointRandomEncoder(PointEncoder):
    """P / T points per step in the order of the cloud, which a training shuffles (random-SDE)."""

    def encode(self, points: Tensor) -> Tensor:
        """(B, P, d) -> (T, B, P / T, d)."""
        if points.size(1) % self.num_steps:
            raise ValueError(
                f'PointRandomEncoder: num_steps={self.num_steps} does not divide the '
                f'{points.size(1)} points of a cloud'
            )
        return points.unflatten(1, (self.num_steps, -1)).transpose(0, 1)
