"""Integer spikes in C++ on the CPU: one pass over memory each way."""
from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.native import Library, refuses_elementwise

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
refuses = refuses_elementwise


def forward(u: Tensor, low: float, high: float, norm: float, half_up: bool, inclusive: bool) -> tuple[Tensor, Tensor]:
    """See ``reference``."""
    u = u.contiguous()
    spikes, passing = torch.empty_like(u), torch.empty_like(u, dtype=torch.uint8)
    LIBRARY.call('integer_spike_forward', u, spikes, passing, u.numel(), u.dtype == torch.bfloat16, low, high, norm, half_up,
                 inclusive)
    return spikes, passing


def backward(grad: Tensor, passing: Tensor, norm: float) -> Tensor:
    """See ``reference``."""
    grad = grad.contiguous()
    out = torch.empty_like(grad)
    LIBRARY.call('integer_spike_backward', grad, passing, out, grad.numel(), grad.dtype == torch.bfloat16, norm)
    return out
