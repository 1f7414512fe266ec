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
    low: float,
    high: float,
    norm: float,
    half_up: bool,
    inclusive: bool,
) -> None:
    """Compute the forward in C++; arguments as in ``reference``."""
    LIBRARY.call(
        'integer_spike_forward',
        u.contiguous(),
        spikes,
        passing,
        u.numel(),
        u.dtype == torch.bfloat16,
        low,
        high,
        norm,
        half_up,
        inclusive,
    )


def backward(grad: Tensor, passing: Tensor, grad_u: Tensor, norm: float) -> None:
    """Compute the backward in C++; arguments as in ``reference``."""
    LIBRARY.call(
        'integer_spike_backward',
        grad.contiguous(),
        passing.contiguous(),
        grad_u,
        grad.numel(),
        grad.dtype == torch.bfloat16,
        norm,
    )
