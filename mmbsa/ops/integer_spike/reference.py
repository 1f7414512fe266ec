"""Integer spikes in plain torch, written as the equation is; the others are tested against it.

An implementation is two functions on rows of numbers (T, N), which write into what they are given,
contiguous:

* ``forward(u, spikes, passing, low, high, norm, half_up, inclusive)``; ``passing`` is uint8, 1
  where the gradient passes; T equal rows of u may be one memory (stride 0),
* ``backward(grad, passing, grad_u, norm)``; grad and passing come with any strides.
"""

import torch
from torch import Tensor


def rounded(count: Tensor, norm: float, half_up: bool) -> Tensor:
    """round(count) / norm, over ``count`` itself."""
    if half_up:
        count.add_(0.5).floor_()
    else:
        count.round_()
    return count if norm == 1 else count.div_(norm)


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
    """See the head of this file."""
    count = torch.clamp(u, low, high, out=spikes)
    passing.copy_(count.eq(u) if inclusive else (u > low).logical_and_(u < high))
    rounded(count, norm, half_up)


def backward(grad: Tensor, passing: Tensor, grad_u: Tensor, norm: float) -> None:
    """See the head of this file."""
    torch.mul(grad, passing, out=grad_u)  # bytes multiply twice as fast as booleans
    if norm != 1:
        grad_u.div_(norm)
