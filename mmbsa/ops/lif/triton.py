"""Triton kernels of LIF. Forward reads x once and writes the spikes once; backward reads two
tensors and writes one.

A program computes ``BLOCK`` neurons for all T steps, so their membrane potentials stay in
registers. Backward computes the potentials again and stores them in ``charged``, float32. The same
program then reads them from the last step to the first; these reads come from the cache. The modes
are those of ``Parameters``: ``LEAK``, ``DECAY_INPUT``, ``HALVES`` (1 / tau is exact), ``HARD``
(reset), ``DETACH``, ``SURROGATE`` and ``SIGNED``. With ``STATE`` there are membrane potentials
before the first and after the last step; without it their pointers are None. Names: ``i_`` program
indices, ``o_`` offsets, ``m_`` masks.
"""

import triton
import triton.language as tl

from mmbsa.ops import triton_support

HALF_PI = tl.constexpr(1.5707963267948966)
_SIZES = ((1024, 4), (2048, 8), (512, 4), (4096, 8))
CONFIGS = [
    triton.Config({'BLOCK': size}, num_warps=warps)
    for size, warps in (_SIZES[:1] if triton_support.INTERPRETED else _SIZES)
]
KEY = ['bucket', 'T']


@triton.jit
def _first(pointer, o_n, m_n, default, STATE: tl.constexpr, BLOCK: tl.constexpr):
    """Load a block of the float32 at ``pointer``, or return ``default`` without STATE."""
    if STATE:
        return tl.load(pointer + o_n, mask=m_n, other=0.0)
    else:
        return tl.zeros([BLOCK], tl.float32) + default


@triton.jit
def _charge(x, v, tau, rest, LEAK: tl.constexpr, DECAY_INPUT: tl.constexpr, HALVES: tl.constexpr):
    """Return H from X and V, rounded like SpikingJelly's float32 operations."""
    if not LEAK:
        return v + x
    elif not DECAY_INPUT:
        return v - tl.div_rn(v - rest, tau) + x
    elif HALVES:
        return v + (x - (v - rest)) * (1.0 / tau)
    else:
        return v + tl.div_rn(x - (v - rest), tau)


@triton.jit
def _spikes(h, threshold, SIGNED: tl.constexpr):
    """Return S in float32."""
    s = tl.where(h >= threshold, 1.0, 0.0)
    if SIGNED:
        s -= tl.where(-h >= threshold, 1.0, 0.0)
    return s


@triton.jit
def _reset(h, s, threshold, rest, HARD: tl.constexpr):
    """Return V from H and S."""
    if HARD:
        return tl.where(s != 0.0, rest, h)
    else:
        return h - threshold * s


@triton.jit
def _slope(z, alpha, SURROGATE: tl.constexpr):
    """Return the derivative of the surrogate at a distance z to the threshold."""
    if SURROGATE == 'sigmoid':
        y = tl.sigmoid(alpha * z)
        return alpha * (1.0 - y) * y
    elif SURROGATE == 'atan':
        y = HALF_PI * alpha * z
        return alpha / 2.0 / (1.0 + y * y)
    elif SURROGATE == 'piecewise_quadratic':
        return alpha * tl.maximum(1.0 - alpha * tl.abs(z), 0.0)
    else:
        return tl.where(tl.abs(z) < 0.5 / alpha, alpha, 0.0)


@triton.autotune(CONFIGS, key=KEY)
@triton.jit
def lif_fwd_kernel(
    x,
    v0,
    spikes,
    v_last,
    n,
    stride,
    bucket,
    tau,
    threshold,
    rest,
    T: tl.constexpr,
    LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    HALVES: tl.constexpr,
    HARD: tl.constexpr,
    SIGNED: tl.constexpr,
    STATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute spikes (T, n) and v_last (n,) from x (T, n), with steps ``stride`` apart, and v0
    (n,)."""
    o_n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_n = o_n < n
    v = _first(v0, o_n, m_n, rest, STATE, BLOCK)
    for t in range(T):
        o = o_n + t * tl.full([], n, tl.int64)
        b_x = tl.load(x + o_n + t * tl.full([], stride, tl.int64), mask=m_n, other=0.0).to(
            tl.float32
        )
        h = _charge(b_x, v, tau, rest, LEAK, DECAY_INPUT, HALVES)
        s = _spikes(h, threshold, SIGNED)
        tl.store(spikes + o, s.to(spikes.dtype.element_ty), mask=m_n)
        v = _reset(h, s, threshold, rest, HARD)
    if STATE:
        tl.store(v_last + o_n, v, mask=m_n)


@triton.autotune(CONFIGS, key=KEY)
@triton.jit
def lif_bwd_kernel(
    grad,
    grad_v,
    x,
    v0,
    charged,
    grad_x,
    grad_v0,
    n,
    stride,
    bucket,
    tau,
    threshold,
    rest,
    alpha,
    T: tl.constexpr,
    LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    HALVES: tl.constexpr,
    HARD: tl.constexpr,
    SIGNED: tl.constexpr,
    STATE: tl.constexpr,
    DETACH: tl.constexpr,
    SURROGATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradients of x (T, n) and v0 (n,) from those of the spikes (T, n) and of the last
    membrane potential (n,).

    ``charged`` (T, n) float32 is scratch memory and may be grad_x.
    """
    o_n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_n = o_n < n
    v = _first(v0, o_n, m_n, rest, STATE, BLOCK)
    for t in range(T):
        o = o_n + t * tl.full([], n, tl.int64)
        b_x = tl.load(x + o_n + t * tl.full([], stride, tl.int64), mask=m_n, other=0.0).to(
            tl.float32
        )
        h = _charge(b_x, v, tau, rest, LEAK, DECAY_INPUT, HALVES)
        tl.store(charged + o, h, mask=m_n)
        v = _reset(h, _spikes(h, threshold, SIGNED), threshold, rest, HARD)
    tl.debug_barrier()  # different threads may write and read a membrane potential
    carry = _first(grad_v, o_n, m_n, 0.0, STATE, BLOCK)  # dL/dV
    for i in range(T):
        o = o_n + (T - 1 - i) * tl.full([], n, tl.int64)
        h = tl.load(charged + o, mask=m_n, other=0.0)
        s = _spikes(h, threshold, SIGNED)
        upper = _slope(h - threshold, alpha, SURROGATE)
        both, across = upper, upper
        if SIGNED:
            lower = _slope(h + threshold, alpha, SURROGATE)
            both, across = upper + lower, upper - lower
        through = tl.full([BLOCK], 1.0, tl.float32)  # dV/dH
        if HARD:
            through = tl.where(s != 0.0, 0.0, 1.0)
            if not DETACH:
                through += (rest - h) * across
        elif not DETACH:
            through -= threshold * both
        grad_h = tl.load(grad + o, mask=m_n, other=0.0).to(tl.float32) * both + carry * through
        out, carry = grad_h, grad_h
        if LEAK:
            leak = tl.div_rn(grad_h, tau + tl.zeros([BLOCK], tl.float32))
            carry = grad_h - leak
            if DECAY_INPUT:
                out = leak
        tl.store(grad_x + o, out.to(grad_x.dtype.element_ty), mask=m_n)
    if STATE:
        tl.store(grad_v0 + o_n, carry, mask=m_n)
