"""Memory layout of time-major tensors: T first, the other dimensions dense in any order, viewed as
rows of numbers."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def memory_order(x: Tensor) -> list[int]:
    """Return the dimensions of ``x`` from the slowest to the fastest in memory, with T first for
    any stride.

    If the steps have gaps in memory, the order is that of the shape. Dimensions of one element come
    early. Their strides have no meaning, and a small stride before larger ones would hide the
    channels-last format from convolutions.
    """
    return _order(x.shape, x.stride())


def inverse(order: Sequence[int]) -> list[int]:
    """Return the inverse of the permutation ``order``."""
    return sorted(range(len(order)), key=order.__getitem__)


class Layout:
    """The memory layout of a tensor (T, *), with which tensors of the same layout can be created.

    Args:
        order: dimensions of the tensor from the slowest to the fastest, T first.
        shape: shape of the tensor.
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
        self.columns = math.prod(self.shape[1:])

    def empty(self, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return an uninitialised dense tensor with this layout; it is not a view.

        Args:
            like: a tensor with the device and default dtype of the result.
            dtype: dtype of the result; None (default) means that of ``like``.
        """
        return like.new_empty_strided(self.shape, self.strides, dtype=dtype or like.dtype)

    def empty_step(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return an uninitialised dense tensor for one step, without the dimension T.

        Args:
            like: a tensor with the device of the result.
            dtype: dtype of the result.
        """
        return like.new_empty_strided(self.shape[1:], self.strides[1:], dtype=dtype)

    def rows(self, x: Tensor) -> Tensor:
        """Return ``x`` as (T, N) with contiguous rows: a view, or a copy if steps have gaps in
        memory or overlap."""
        if x.stride() == self.strides:  # dense in this layout: one operation instead of three
            return x.as_strided((x.size(0), self.columns), (self.columns, 1))
        x = x.permute(self.order)
        if x.numel() == 0:  # the number of columns does not follow from the number of elements
            return x.reshape(x.size(0), math.prod(x.shape[1:]))
        return (x if x[0].is_contiguous() else x.contiguous()).view(x.size(0), -1)

    def row(self, step: Tensor) -> Tensor:
        """Return a step (*) as a contiguous (N,): a view if the layout allows it, otherwise a
        copy."""
        return step.permute(self.order_of_step).reshape(-1).contiguous()


def layout_of(x: Tensor) -> Layout:
    """Return the layout of results that correspond to ``x``; it is cached by shape and strides."""
    try:
        return _kept(x.shape, x.stride())
    except TypeError:  # symbolic sizes of a compiler cannot be keys of the cache
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
