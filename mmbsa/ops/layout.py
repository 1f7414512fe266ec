"""How tensors lie in memory: T leading, the rest dense in whatever order, as rows of numbers."""
import math

from torch import Tensor


def memory_order(x: Tensor) -> list[int]:
    """Dimensions of x from the slowest to the fastest, T first whatever its stride; as they are where steps have gaps.

    Dimensions of one element come early: their strides say nothing, and a small one before larger ones would hide from
    convolutions that channels are last.
    """
    if x.dim() < 3 or x.numel() == 0:
        return list(range(x.dim()))
    order = [0, *sorted(range(1, x.dim()), key=lambda i: (bool(x.size(i) > 1), -x.stride(i)))]
    return order if x[0].permute([i - 1 for i in order[1:]]).is_contiguous() else list(range(x.dim()))


def inverse(order: list[int]) -> list[int]:
    """The permutation that undoes ``order``."""
    return sorted(range(len(order)), key=order.__getitem__)


def as_rows(x: Tensor, order: list[int]) -> Tensor:
    """x as (T, N) in its :func:`memory_order`: a view, or a copy where steps have gaps or overlap themselves."""
    x = x.permute(order)
    if x.numel() == 0:  # no number of columns can be told from the number of elements
        return x.reshape(x.size(0), math.prod(x.shape[1:]))
    return (x if x[0].is_contiguous() else x.contiguous()).view(x.size(0), -1)


def from_rows(rows: Tensor, x: Tensor, order: list[int]) -> Tensor:
    """View (T, N) as a tensor of x's shape, dense in the given order of dimensions."""
    return rows.view([x.size(i) for i in order]).permute(inverse(order))


def like_rows(x: Tensor, order: list[int]) -> Tensor:
    """An uninitialised tensor of x's shape, dense in the given order of dimensions."""
    return from_rows(x.new_empty([x.size(i) for i in order]), x, order)
