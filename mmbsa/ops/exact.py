"""The exact normaliser of Shiftmax, g(x) = ceil(log2 sum_j 2^x_j).

A floating-point logarithm cannot decide g near a power of two: a row with the sum 2^10 needs g =
10, a row with the sum 2^10 + 2^-30 needs g = 11. Sums of powers of two are bit patterns, so this
file adds bits.

Notation, for a row x_1..x_n: top = floor(max x), gap_j = top - x_j, g = top + ceil(log2 sum_j
2^-gap_j). Gaps and their sum stay small and exact for scores of any size.
"""

import math

import torch
from torch import Tensor

#: Largest number of scores in a row; longer rows would need more than one float64 per window of
#: :func:`ceil_log2_sum_of_integers`.
MAX_ROW = 1 << 24


def pow2(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 2^exponent, written as bits.

    Args:
        exponent: integer exponents of any shape, in the normal range of ``dtype``.
        dtype: float32 or float64.
    """
    if dtype == torch.float64:
        return (exponent + 1023).to(torch.int64).bitwise_left_shift_(52).view(torch.float64)
    return (exponent + 127).to(torch.int32).bitwise_left_shift_(23).view(torch.float32)


def gaps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of every score to the maximum of its row.

    Args:
        x: scores (..., n), float32, float64 or any integer dtype; -inf is a masked score.

    Returns:
        ``top`` (..., 1), the floor of the row's maximum, in the dtype of x, and ``gap = top - x``
        (..., n), floating. For integer scores the gap is exact up to ``n + 4096`` and is cut off
        there; larger gaps change neither g nor a nonzero weight (float64 ends at 2^-1074).
    """
    _check_row(x)
    top = x.amax(-1, keepdim=True)
    if x.is_floating_point():
        # The difference of two integers is exact if it is a floating-point number; otherwise it
        # exceeds 2^24 and is cut off in any case.
        top = top.floor()
        return top, top - x
    limit = x.shape[-1] + 4096
    gap = top.long() - x.long()
    gap = torch.where(gap < 0, limit, gap).clamp(
        max=limit
    )  # a negative difference of int64 is an overflow
    return top, gap.to(torch.float32)


def ceil_log2_sum(gap: Tensor) -> Tensor:
    """Return ceil(log2 sum_j 2^-gap_j) per row, exact for integer gaps and from float64 arithmetic
    otherwise.

    A sum of powers of two with a fractional exponent among them is never a power of two (the
    numbers 2^(i/2^s) are linearly independent over the rationals). Only rows of integers need exact
    arithmetic.

    Args:
        gap: gaps (..., n), floating, from :func:`gaps`.

    Returns:
        A tensor (..., 1) in the dtype of ``gap``; NaN for rows with a NaN or +inf score, or with
        -inf only.
    """
    whole = (gap == gap.floor()).all(-1, keepdim=True)
    if bool(whole.all()):
        return ceil_log2_sum_of_integers(gap).to(gap.dtype)
    real = torch.exp2(-gap.double()).sum(-1, keepdim=True).log2().ceil()
    exact = ceil_log2_sum_of_integers(torch.where(whole, gap, 0.0))
    return torch.where(whole, exact.double(), real).to(gap.dtype)


def ceil_log2_sum_of_integers(gap: Tensor) -> Tensor:
    """Return the exact e = ceil(log2 sum_j 2^-gap_j) of integer gaps >= 0; every row must contain a
    0.

    The binary expansion of a row is cut into windows of W bits below the maximum. In a window,
    float64 adds the powers without rounding: they are multiples of 2^-(W-1) and their sum is below
    2n + 1, so W = 52 - bit_length(n) fits into the 53 bits of the mantissa. The windows are added
    from the least significant one up. The part of a sum above the lowest bit of a window is carried
    into the next window; a flag (sticky) records whether a lower bit remains. Gaps of Y0 = n +
    bit_length(n) or more only set this flag: their sum is below 2^-(Y0 - bit_length(n)), and a
    carry from it would need a run of Y0 - bit_length(n) ones, more than n powers can set.

    Args:
        gap: gaps (..., n), integer-valued, n <= 2^24.

    Returns:
        e (..., 1), int64, between 0 and bit_length(n).
    """
    n = gap.shape[-1]
    bits = n.bit_length()
    furthest = float(gap.max()) if gap.numel() else 0.0
    if furthest + bits <= 23:  # one window of a float32
        total, sticky = pow2(-gap, torch.float32).sum(-1, keepdim=True), None
    elif furthest < 52 - bits:  # one window of a float64
        total, sticky = pow2(-gap, torch.float64).sum(-1, keepdim=True), None
    else:
        total, sticky = _windows(gap, 52 - bits, n + bits)
    mantissa, exponent = torch.frexp(total)  # total = mantissa * 2^exponent, 1/2 <= mantissa < 1
    power = mantissa == 0.5
    if sticky is not None:
        power &= ~sticky
    return exponent.long() - power.long()


def _windows(gap: Tensor, width: int, far: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the top window with all carries, and whether any lower bit is set; both
    (..., 1)."""
    sticky = ((gap >= far) & (gap < math.inf)).any(-1, keepdim=True)  # 2^-inf is 0: no bit at all
    gap = gap.clamp(max=far).long()
    window = torch.div(gap, width, rounding_mode='floor')
    occupied = torch.unique(window[gap < far]).tolist()
    total = gap.new_zeros((*gap.shape[:-1], 1), dtype=torch.float64)
    previous = None
    for index in reversed(occupied):
        if previous is not None:
            # Units: `total` counts 2^-(previous * width), of which this window's lowest bit is two.
            carry = torch.zeros_like(total) if previous - index > 1 else torch.floor(total / 2)
            sticky |= total != 2 * carry
            total = carry * 2.0 ** (1 - width)
        inside = (window == index) & (gap < far)
        exponent = torch.where(inside, index * width - gap, 0)
        total = total + torch.where(inside, pow2(exponent, torch.float64), 0.0).sum(
            -1, keepdim=True
        )
        previous = index
    return total, sticky


def _check_row(x: Tensor) -> None:
    if not 0 < x.shape[-1] <= MAX_ROW:
        raise ValueError(f'a row of scores must hold 1 to {MAX_ROW} values, got {x.shape[-1]}')
