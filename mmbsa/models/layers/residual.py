"""Residual branches: layer scale, stochastic depth, and activation checkpointing without a second
update of batch norms."""

from contextlib import contextmanager, nullcontext

import torch
from timm.layers import drop_path
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmbsa.models.layers.firing_rate import FiringRate
from mmbsa.spiking import add


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return the rates of stochastic depth of ``depth`` blocks, which increase linearly from 0 to
    ``last``."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]


class Residual(nn.Module):
    """Residual branch: x + drop_path(scale * branch(x)) for time-major maps.

    Args:
        branch: module from (T, B, C, H, W) to the same shape.
        channels: C, channels of the map.
        layer_scale: initial value of a learnable factor per channel; None (default) means no
            factor.
        drop_path_rate: probability that the branch is skipped for a sample (in all its T steps);
            default 0.
    """

    def __init__(
        self,
        branch: nn.Module,
        channels: int,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        self.branch = branch
        self.scale = (
            None
            if layer_scale is None
            else nn.Parameter(torch.full((channels,), float(layer_scale)))
        )
        self.drop_path_rate = drop_path_rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, C, H, W) for an input (T, B, C, H, W)."""
        out = self.branch(x)
        if self.scale is not None:
            out = out * self.scale.view(-1, 1, 1)
        if (
            self.drop_path_rate and self.training
        ):  # timm drops along the first axis, which must be the samples
            out = drop_path(out.transpose(0, 1), self.drop_path_rate, True).transpose(0, 1)
        return add(x, out)


@contextmanager
def _averages_stand_still(module: nn.Module):
    """Context in which batch norms use batch statistics but do not update their running averages
    and counters.

    Running firing rates are not updated either.
    """
    norms = [
        m
        for m in module.modules()
        if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
    averages = norms + [m for m in module.modules() if isinstance(m, FiringRate)]
    momenta = [average.momentum for average in averages]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for average in averages:
        average.momentum = 0.0
    try:
        yield
    finally:
        for average, momentum in zip(averages, momenta):
            average.momentum = momentum
        for norm, count in zip(norms, counts):
            norm.num_batches_tracked.copy_(count)


def checkpointed(module: nn.Module, x: Tensor) -> Tensor:
    """Run ``module(x)`` and recompute it in the backward; running averages are updated only
    once."""
    return checkpoint(
        module,
        x,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _averages_stand_still(module)),
    )
