"""Integer spikes in plain torch, as the equation defines them; the reference in the tests of the
other implementations.

An implementation has two functions, which write into given tensors. All tensors are dense and have
equal strides, or are contiguous (T, N):

* ``forward(u, spikes, passing, counts, low, high, norm, half_up, inclusive, keep)``; ``passing`` is
  uint8, 1 where the gradient is 1/norm, and empty for keep 0; ``counts`` is int8, and empty unless
  keep is 2; T equal rows of u may share memory (stride 0),
* ``backward(grad, passing, grad_u, norm)``; grad and passing may have any strides.
"""

import torch
from torch import Tensor


def rounded(count: Tensor, norm: float, half_up: bool) -> Tensor:
    """Write round(count) / norm into ``count`` and return it."""
    if half_up:
        count.add_(0.5).floor_()
    else:
        count.round_()
    return count if norm == 1 else count.div_(norm)


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
    """Compute the forward; see the docstring of this file."""
    count = torch.clamp(u, low, high, out=spikes)
    if keep:
        passing.copy_(count.eq(u) if inclusive else (u > low).logical_and_(u < high))
    rounded(count, 1.0, half_up)
    if keep == 2:
        counts.copy_(count)
    if norm != 1:
        count.div_(norm)


def backward(grad: Tensor, passing: Tensor, grad_u: Tensor, norm: float) -> None:
    """Compute the backward; see the docstring of this file."""
    torch.mul(grad, passing, out=grad_u)  # twice as fast with bytes as with booleans
    if norm != 1:
        grad_u.div_(norm)
