"""How tensors lie in memory: T leading, the rest dense in whatever order, as rows of numbers."""
from collections.abc import Sequence

import torch
from torch import Tensor


def memory_order(x: Tensor) -> list[int]:
    """Dimensions of x from the slowest to the fastest, T first whatever its stride.

    As they are where steps have gaps. Dimensions of one element come early: their strides say nothing, and a
    small one before larger ones would hide from convolutions that channels are last.
    """
    if x.dim() < 3:
        return list(range(x.dim()))
    order = [0, *sorted(range(1, x.dim()), key=lambda i: (bool(x.size(i) > 1), -x.stride(i)))]
    dense = x[0].permute(order_of_step(order)).is_contiguous()
    return order if dense else list(range(x.dim()))


def order_of_step(order: Sequence[int]) -> list[int]:
    """The :func:`memory_order` of x[0] where ``order`` is that of x."""
    return [i - 1 for i in order[1:]]


def inverse(order: Sequence[int]) -> list[int]:
    """The permutation that undoes ``order``."""
    return sorted(range(len(order)), key=order.__getitem__)


def as_rows(x: Tensor, order: Sequence[int]) -> Tensor:
    """x as (T, N) in its :func:`memory_order`: a view, or a copy where steps have gaps or overlap themselves."""
    x = x.permute(order)
    return (x if x[0].is_contiguous() else x.contiguous()).view(x.size(0), -1)


def new_in_order(x: Tensor, order: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor of x's shape, dense in the given order of dimensions; no view of another tensor."""
    strides, step = [0] * x.dim(), 1
    for i in reversed(order):
        strides[i] = step
        step = step * x.size(i)
    return x.new_empty_strided(x.shape, strides, dtype=dtype or x.dtype)
