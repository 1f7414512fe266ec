"""The normaliser of Shiftmax, g(x) = ceil(log2 sum_j 2^x_j), as Python's big integers would give
it.

A float logarithm cannot decide g near a power of two: a row that sums to 2^10 exactly needs g = 10,
a row that exceeds 2^10 by 2^-30 needs g = 11. Sums of powers of two are bit patterns, so this file
adds them as such.

Notation, for a row x_1..x_n: top = floor(max x), gap_j = top - x_j, g = top + ceil(log2 sum_j
2^-gap_j). Gaps and their sum stay small and exact, however large the scores are.
"""

import math

import torch
from torch import Tensor

#: Rows longer than this would need more than one float64 per window of
#: :func:`ceil_log2_sum_of_integers`.
MAX_ROW = 1 << 24


def pow2(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^exponent for integer exponents in the normal range of ``dtype`` (float32 or float64),
    written as bits.
    """
    if dtype == torch.float64:
        return (exponent + 1023).to(torch.int64).bitwise_left_shift_(52).view(torch.float64)
    return (exponent + 127).to(torch.int32).bitwise_left_shift_(23).view(torch.float32)


def gaps(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of every score below the row's top.

    Args:
        x: Scores (..., n), float32, float64 or any integer type; -inf marks a masked score.

    Returns:
        ``top`` (..., 1), the floor of the row's maximum, in x's dtype, and ``gap = top - x`` (...,
        n), floating. For integer scores the gap is exact up to ``n + 4096`` and saturates there,
        far below anything that can move g or leave a nonzero weight (float64 ends at 2^-1074).
    """
    _check_row(x)
    top = x.amax(-1, keepdim=True)
    if x.is_floating_point():
        # The difference of two integers that are floats is exact whenever it is itself a float, and
        # one that is not exceeds 2^24 and saturates all the same.
        top = top.floor()
        return top, top - x
    limit = x.shape[-1] + 4096
    gap = top.long() - x.long()
    gap = torch.where(gap < 0, limit, gap).clamp(
        max=limit
    )  # a negative difference of int64 has wrapped around
    return top, gap.to(torch.float32)


def ceil_log2_sum(gap: Tensor) -> Tensor:
    """ceil(log2 sum_j 2^-gap_j) per row: exact where all gaps are integers, in float64 arithmetic
    elsewhere.

    A sum of powers of two with a fractional exponent among them is never itself a power of two (the
    numbers 2^(i/2^s) are linearly independent over the rationals), so only integer rows can sum to
    one.

    Args:
        gap: (..., n) floating, from :func:`gaps`.

    Returns:
        (..., 1) in gap's dtype; NaN for rows that hold NaN or +inf scores or nothing but -inf.
    """
    whole = (gap == gap.floor()).all(-1, keepdim=True)
    if bool(whole.all()):
        return ceil_log2_sum_of_integers(gap).to(gap.dtype)
    real = torch.exp2(-gap.double()).sum(-1, keepdim=True).log2().ceil()
    exact = ceil_log2_sum_of_integers(torch.where(whole, gap, 0.0))
    return torch.where(whole, exact.double(), real).to(gap.dtype)


def ceil_log2_sum_of_integers(gap: Tensor) -> Tensor:
    """Exact e = ceil(log2 sum_j 2^-gap_j) of integer gaps >= 0 of which each row holds a 0.

    The row's binary expansion is cut into windows of W bits below the top. In a window, float64
    adds the powers without rounding: they are multiples of 2^-(W-1) and their sum stays below 2n +
    1, so W = 52 - bit_length(n) fits the 53 bits of the mantissa. From the least significant
    occupied window up, whatever exceeds a window's lowest bit is carried into the next one, and
    what is left behind is remembered as "a bit was set down there" (sticky). Gaps of Y0 = n +
    bit_length(n) or more are sticky at once: together they are below 2^-(Y0 - bit_length(n)), and
    could only carry through a run of Y0 - bit_length(n) ones, more than n powers can set.

    Args:
        gap: (..., n) integer-valued, n <= 2^24.

    Returns:
        int64 (..., 1), between 0 and bit_length(n).
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
    """Sum of the top window with all carries, and whether any bit lies below it; both (..., 1)."""
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
