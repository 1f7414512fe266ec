"""How tensors lie in memory: T leading, the rest dense in whatever order, as rows of numbers."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def memory_order(x: Tensor) -> list[int]:
    """Dimensions of x from the slowest to the fastest, T first whatever its stride.

    As they are where steps have gaps. Dimensions of one element come early: their strides say
    nothing, and a small one before larger ones would hide from convolutions that channels are last.
    """
    return _order(x.shape, x.stride())


def inverse(order: Sequence[int]) -> list[int]:
    """The permutation that undoes ``order``."""
    return sorted(range(len(order)), key=order.__getitem__)


class Layout:
    """The :func:`memory_order` of a tensor (T, *), and room for others in it.

    Args:
        order: dimensions of a tensor from the slowest to the fastest, the first one first.
        shape: its shape.
    """

    def __init__(self, order: Sequence[int], shape: Sequence[int]):
        self.order = list(order)
        self.order_of_step = [i - 1 for i in self.order[1:]]
        self.shape = tuple(shape)
        strides, step = [0] * len(self.shape), 1
        for i in reversed(self.order):
            strides[i] = step
            step = step * self.shape[i]
        self.strides = tuple(strides)

    def empty(self, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialised tensor in this layout, dense; no view of another tensor."""
        return like.new_empty_strided(self.shape, self.strides, dtype=dtype or like.dtype)

    def empty_step(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """The same for one step, without the dimension T."""
        return like.new_empty_strided(self.shape[1:], self.strides[1:], dtype=dtype)

    def rows(self, x: Tensor) -> Tensor:
        """x as (T, N), rows contiguous: a view, or a copy where steps have gaps or overlap."""
        x = x.permute(self.order)
        if x.numel() == 0:  # the number of columns cannot be told from the number of elements
            return x.reshape(x.size(0), math.prod(x.shape[1:]))
        return (x if x[0].is_contiguous() else x.contiguous()).view(x.size(0), -1)

    def row(self, step: Tensor) -> Tensor:
        """A step (*) as (N,), contiguous: a view where it lies so."""
        return step.permute(self.order_of_step).reshape(-1).contiguous()


def layout_of(x: Tensor) -> Layout:
    """The layout of results that belong to x.

    Kept by shape and strides, since it is asked for at every call.
    """
    try:
        return _kept(x.shape, x.stride())
    except TypeError:  # sizes that are symbols of a compiler are no keys
        return _kept.__wrapped__(x.shape, x.stride())


@functools.lru_cache(maxsize=4096)
def _kept(shape: Sequence[int], strides: Sequence[int]) -> Layout:
    return Layout(_order(shape, strides), shape)


def _order(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    as_is = list(range(len(shape)))
    if len(shape) < 3:
        return as_is
    order = [0, *sorted(as_is[1:], key=lambda i: (bool(shape[i] > 1), -strides[i]))]
    step = 1
    for i in reversed(order[1:]):
        if shape[i] != 1 and strides[i] != step:
            return as_is
        step = step * shape[i]
    return order
