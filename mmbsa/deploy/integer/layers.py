"""Layers of an integer network on int64 arrays: sums, comparisons and shifts.

Functions with ``singledispatch`` have another form in the integer graph, see
:mod:`mmbsa.deploy.integer.graph_layers`; the other functions also run on its symbols.
"""

from functools import singledispatch

import numpy as np

from mmbsa.deploy.integer.fixed import Rules, as_ratio, check_width, power_of_two, shift


@singledispatch
def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multiply (..., n, k) and (..., k, m) -> (..., n, m), exactly.

    Whole numbers whose sums are below 2^53 are multiplied as float64, which is also exact and many
    times faster, because libraries have no fast product of int64.
    """
    if a.dtype == b.dtype == np.int64 and a.size and b.size:
        bound = a.shape[-1] * int(np.abs(a).max()) * int(np.abs(b).max())
        if bound < 1 << 53:
            return np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64)
    return np.matmul(a, b)


@singledispatch
def conv2d(x: np.ndarray, weight: np.ndarray, stride, padding, dilation, groups: int) -> np.ndarray:
    """Convolve (N, C, H, W) with (O, C / groups, kh, kw) -> sums (N, O, OH, OW), exactly.

    Args:
        x: input (N, C, H, W), int64.
        weight: weights (O, C / groups, kh, kw), int64.
        stride, padding, dilation: (vertical, horizontal) values in pixels.
        groups: number of groups.
    """
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    kh, kw = weight.shape[2:]
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, (kh, kw))]
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, (2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    n, c, height, width = windows.shape[:4]
    windows = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, groups, -1, height * width)
    sums = matmul(weight.reshape(groups, len(weight) // groups, -1), windows)
    return sums.reshape(n, -1, height, width)


class Leak:
    """Computes x / tau of membranes, rounded down, by a shift or by a multiplication and a shift.

    Args:
        name: name of the layer, for errors.
        tau: time constant of the neuron, in time steps.
        rules: whether values other than powers of two are allowed, and the bits of the multiplier.

    Raises:
        ValueError: neither 1 / tau nor 1 - 1 / tau is a power of two, without ``multiply``.
    """

    def __init__(self, name: str, tau: float, rules: Rules):
        part, kept = (
            power_of_two(1 / tau),
            power_of_two(round(1 - 1 / tau, 12)) if tau != 1 else None,
        )
        self.part = None if part is None else -part
        self.kept = None if kept is None else -kept
        self.ratio = as_ratio(1 / tau, rules.multiplier_bits)
        self.multiplies = self.part is None and self.kept is None
        if self.multiplies and rules.room + 1 + rules.multiplier_bits > 63:
            raise OverflowError(
                f'{name}: membranes of {rules.room} bits times multiplier_bits='
                f'{rules.multiplier_bits} leave 64 bits'
            )
        if self.multiplies and not rules.multiply:
            raise ValueError(
                f'{name}: the leak 1 / tau = {1 / tau:g} is not a shift: neither 1 / tau nor '
                '1 - 1 / tau is a power of two; set multiply=True, or train with tau=2, 4, 4/3, ...'
            )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the share 1 / tau of x, rounded down."""
        if self.part is not None:
            return x >> self.part
        if self.kept is not None:
            return x + (-x >> self.kept)
        return (x * self.ratio[0]) >> self.ratio[1]


def lif(
    x: np.ndarray,
    leak: Leak | None,
    decay_input: bool,
    threshold: int,
    reset: int | None,
    signed: bool,
    name: str,
    bits: int,
) -> np.ndarray:
    """Run a LIF neuron: currents (T, *) -> spikes (T, *).

    Membrane, threshold and reset have the step of the currents.

    Args:
        x: input currents (T, *), int64.
        leak: leak of the membrane; None without a leak.
        decay_input: whether the input decays too.
        threshold: threshold of the membrane.
        reset: membrane after a spike; None for a reset by subtraction.
        signed: whether negative spikes exist.
        name: name of the layer, for errors.
        bits: bits of the membrane.

    Raises:
        OverflowError: a membrane does not fit ``bits``.
    """
    rest = 0 if reset is None else reset
    v, spikes = np.full_like(x[0], rest), []
    for current in x:
        if leak is None:
            h = v + current
        elif decay_input:
            h = v + leak(current - (v - rest))
        else:
            h = v + leak(rest - v) + current  # rounded down, as all leaks are
        check_width(f'{name}: membrane', h, bits)
        s = np.where(h >= threshold, 1, np.where(h > -threshold, 0, -1) if signed else 0)
        v = h - threshold * s if reset is None else np.where(s != 0, reset, h)
        spikes.append(s)
    return np.stack(spikes)


@singledispatch
def round_half_even(x: np.ndarray, fraction: int) -> np.ndarray:
    """Return round(x * 2^-fraction) with ties to even, by additions and shifts."""
    if fraction == 0:
        return x
    up = (x + (1 << (fraction - 1))) >> fraction
    tie = (x & ((1 << fraction) - 1)) == 1 << (fraction - 1)
    return np.where(tie, up & ~1, up)


def reached(x: np.ndarray, thresholds: list[int], low: int) -> np.ndarray:
    """Return ``low`` plus the number of the ascending thresholds that x is not below."""
    counts = low
    for count, threshold in enumerate(thresholds, low + 1):
        counts = np.where(x >= threshold, count, counts)
    return counts


@singledispatch
def exponent_of_sum(gap: np.ndarray) -> np.ndarray:
    """Return ceil(log2 sum_j 2^-gap_j) of gaps >= 0 (..., n) as (..., 1); each row has a 0.

    The keys of every gap are counted, and carries go from the largest gap to 0. The result at gap 0
    is the whole part of the sum; remaining bits are the sticky bit. The exponent is the position of
    the leading one, plus one if any other bit is set.
    """
    carry, sticky = np.zeros((*gap.shape[:-1], 1), np.int64), np.zeros((*gap.shape[:-1], 1), bool)
    for place in range(int(gap.max()), 0, -1):
        total = carry + (gap == place).sum(-1, keepdims=True)
        sticky |= (total & 1).astype(bool)
        carry = total >> 1
    whole = carry + (gap == 0).sum(-1, keepdims=True)
    leading = np.zeros_like(whole)
    for place in range(1, int(whole.max()).bit_length()):
        leading += whole >> place > 0
    return leading + (sticky | (whole != 1 << leading))


@singledispatch
def shift_values(values: np.ndarray, shifts: np.ndarray, guard: int) -> np.ndarray:
    """Return sum_j 2^-shifts_ij values_j: (..., n, d) and (..., n_q, n) -> (..., n_q, d).

    The result has the step of the values. Values get ``guard`` additional bits and are shifted
    (each term is rounded down) and added; the sum is rounded back. Weights sum to at most 1, so the
    sum needs only the bits of the widened values. A term loses less than 2^-guard of a step, so the
    error of the sum is less than n 2^-guard + 1/2 steps, and it is positive only by the last
    rounding.

    Args:
        values: (..., n, d), int64.
        shifts: places to the right, (..., n_q, n).
        guard: number of additional bits.
    """
    wide = values << guard
    total = np.zeros((*shifts.shape[:-1], values.shape[-1]), np.int64)
    for places in np.unique(shifts):
        total += matmul((shifts == places).astype(np.int64), wide >> min(int(places), 62))
    return shift(total, guard)


def shiftmax_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, guard: int) -> np.ndarray:
    """Compute attention with Shiftmax by shifts of V.

    Whole q, k (..., n, d) and values (..., n, d_v) -> (..., n_q, d_v). Score = Shiftmax(q k^T);
    Score shifts V.

    Args:
        q: queries (..., n_q, d), whole numbers.
        k: keys (..., n, d), whole numbers.
        v: values (..., n, d_v).
        guard: number of additional bits of V.
    """
    score = matmul(q, np.swapaxes(k, -1, -2))
    gap = score.max(-1, keepdims=True) - score
    return shift_values(v, gap + exponent_of_sum(gap), guard)


def unnormalised_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return q k^T v of whole numbers, in the order with fewer products; no sum is rounded."""
    if k.shape[-2] > k.shape[-1]:
        return matmul(q, matmul(np.swapaxes(k, -1, -2), v))
    return matmul(matmul(q, np.swapaxes(k, -1, -2)), v)


def bilinear_taps(
    size: int, target: int, align_corners: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left and right neighbours of every target pixel, and the weight of the right one.

    Weights are in sixteenths, halves up.

    Args:
        size: number of source pixels.
        target: number of target pixels.
        align_corners: whether the outer pixel centres coincide, as in
            ``torch.nn.functional.interpolate``.
    """
    place = np.arange(target)
    if align_corners:
        top, bottom = place * (size - 1), max(target - 1, 1)
    else:  # (i + 1/2) size / target - 1/2, over the denominator 2 target
        top, bottom = np.maximum((2 * place + 1) * size - target, 0), 2 * target
    left = np.minimum(top // bottom, size - 1)
    weight = (32 * (top - left * bottom) + bottom) // (2 * bottom)
    return left, np.minimum(left + 1, size - 1), weight


def bilinear(x: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Resize (..., H, W) -> (..., *size) with weights in sixteenths, rounded once.

    Args:
        x: (..., H, W), int64.
        size: (height, width) of the result in pixels.
        align_corners: as in ``torch.nn.functional.interpolate``.
    """
    for axis, target in ((-2, size[0]), (-1, size[1])):
        left, right, weight = bilinear_taps(x.shape[axis], target, align_corners)
        weight = weight[:, None] if axis == -2 else weight
        x = np.take(x, left, axis) * (16 - weight) + np.take(x, right, axis) * weight
    return shift(x, 8)


@singledispatch
def max_pool2d(x: np.ndarray, kernel, stride, padding) -> np.ndarray:
    """Return the largest value of every window of (N, C, H, W); padding is never the largest.

    Args:
        x: (N, C, H, W), int64.
        kernel, stride, padding: (vertical, horizontal) values in pixels.
    """
    lowest = np.iinfo(np.int64).min
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=lowest)
    windows = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel), (2, 3))
    return windows[:, :, :: stride[0], :: stride[1]].max((-1, -2))
