"""Integer spikes in C++ on the CPU: one pass over memory in forward and backward."""

from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.native import Library, refuses_elementwise

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
refuses = refuses_elementwise


def forward(
    u: Tensor,
    spikes: Tensor,
    passing: Tensor,
    counts: Tensor,
    low: float,
    high: float,
    norm: float,
    half_up: bool,
    inclusive: bool,
    keep: int,
) -> None:
    """Compute the forward in C++; arguments as in ``reference``."""
    LIBRARY.call(
        'integer_spike_forward',
        _like(u, spikes),
        spikes,
        passing,
        counts,
        u.numel(),
        u.dtype == torch.bfloat16,
        low,
        high,
        norm,
        half_up,
        inclusive,
        keep,
    )


def _like(x: Tensor, out: Tensor) -> Tensor:
    """Return ``x`` with the strides of the dense tensor ``out``, or a contiguous copy."""
    return x if x.stride() == out.stride() else x.contiguous()


def backward(grad: Tensor, passing: Tensor, grad_u: Tensor, norm: float) -> None:
    """Compute the backward in C++; arguments as in ``reference``."""
    LIBRARY.call(
        'integer_spike_backward',
        _like(grad, grad_u),
        _like(passing, grad_u),
        grad_u,
        grad.numel(),
        grad.dtype == torch.bfloat16,
        norm,
    )
