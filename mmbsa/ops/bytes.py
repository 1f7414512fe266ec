"""Conversion of spikes to bytes, which layers keep for the backward."""

import math

import torch
from torch import Tensor


def fits(low: float, high: float, unit: float) -> bool:
    """Return whether spikes can be kept as bytes without loss.

    Args:
        low: smallest count.
        high: largest count.
        unit: value of one spike. The result is False if it is so small or large that float32 could
            underflow or overflow.
    """
    return -128 <= low and high <= 127 and 2.0**-100 < unit < 2.0**100


def is_power_of_two(unit: float) -> bool:
    """Return whether ``unit`` is a power of two, so that counts times ``unit`` are exact in every
    floating dtype."""
    return math.frexp(unit)[0] == 0.5 and 2.0**-10 <= unit <= 2.0**8


def to_bytes(x: Tensor, unit: float) -> Tensor:
    """Convert spikes to their integer counts as int8, in the same shape and memory layout.

    Args:
        x: spikes of any shape: counts in -128 .. 127 times ``unit``, rounded to the dtype of x. The
            dtype is floating, or int8 with ``unit`` 1.
        unit: value of one spike.
    """
    if unit == 1:
        return x if x.dtype == torch.int8 else x.to(torch.int8)
    if is_power_of_two(unit):
        return x.mul(1 / unit).to(torch.int8)
    return x.div(unit).round_().to(torch.int8)


def from_bytes(counts: Tensor, unit: float, dtype: torch.dtype) -> Tensor:
    """Convert int8 counts back to spikes; the inverse of :func:`to_bytes`.

    The result has the bits of the original spikes if these were counts times ``unit``, rounded once
    to ``dtype``.

    Args:
        counts: int8 counts of any shape.
        unit: value of one spike.
        dtype: floating dtype of the result.
    """
    if is_power_of_two(unit):
        spikes = counts.to(dtype)
        return spikes if unit == 1 else spikes.mul_(unit)
    return counts.to(torch.float64).mul_(unit).to(dtype)
