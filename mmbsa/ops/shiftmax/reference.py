"""Shiftmax in plain torch, as eqs. 13-15 define it."""

import math

import torch
from torch import Tensor

from mmbsa.ops.exact import ceil_log2_sum, gaps

LN2 = math.log(2.0)


def forward(x: Tensor) -> Tensor:
    """Return S_j = 2^(x_j - g) over the last dimension.

    x is (..., n) float32, float64 or integer; S is float32 or float64.
    """
    _, gap = gaps(x)
    return torch.exp2(-gap - ceil_log2_sum(gap))


def backward(grad_out: Tensor, weight: Tensor, grad: str) -> Tensor:
    """Return dx_j = ln2 S_j (dS_j - sum_i p_i dS_i), p = S / sum S; ``'detach'`` omits the sum."""
    if grad == 'ste':
        total = weight.sum(-1, keepdim=True)
        grad_out = grad_out - (grad_out * weight).sum(-1, keepdim=True) / total
    return LN2 * weight * grad_out
