"""Triton kernels of the forward of bipolar attention, in O(n) memory.

Spikes allow three things that a softmax kernel cannot do. Scores are small integers, so a weight
2^x is an exponent in the bits of a float. A weight is exact in 16 bits, where a probability is
rounded. For most rows one float32 sum of weights gives the exact g; :func:`_exceeds` computes the
other sums in 64-bit integers.

Names: ``i_`` program indices, ``o_`` offsets, ``m_`` masks, ``b_`` blocks of data. Sizes: ``D`` and
``D_V`` channels of a head, padded with zeros to ``BD`` and ``BDV``; ``BM`` queries by ``BN`` keys
to a block. Modes:

| | |
|---|---|
| ``SHIFTMAX`` | powers of two and a ceil; otherwise softmax, computed to the base 2 |
| ``SPIKES`` | q and k hold -1, 0, 1: products of 16 bits (8, if they come as int8) are exact |
| ``WHOLE`` | Shiftmax of unscaled spikes: scores are integers in [-D, D], weights powers of two |
| ``DIRECT`` | and 2^D needs no maximum subtracted: D <= 64, and weights that are not float16 |
"""

import triton
import triton.language as tl

from mmbsa.ops import triton_support

INTERPRETED = tl.constexpr(triton_support.INTERPRETED)
LN2 = tl.constexpr(0.6931471805599453)
#: 1.5 * 2^23 + 127. If an integer k is added, the low bits of the sum's mantissa are the biased
#: exponent of 2^k.
BIAS = tl.constexpr(12583039.0)


def _configs(*sizes):
    """Return the kernel configs to choose from, given (BM, BN, warps, stages and largest number of
    registers) of each.

    In the interpreter there is one config only.
    """
    if triton_support.INTERPRETED:
        sizes = ((64, 64, 4, 1),)
    return [
        triton.Config(
            {'BM': m, 'BN': n},
            num_warps=warps,
            num_stages=stages,
            maxnreg=limit[0] if limit else None,
        )
        for m, n, warps, stages, *limit in sizes
    ]


def _fitting(configs, named_args, **kwargs):
    """Remove the configs whose accumulators and blocks do not fit into a multiprocessor."""
    args = {**named_args, **kwargs}
    size = 1 if args['v'].element_size() == 2 else 2
    width = max(args['BD'], args['BDV']) * size
    small = [
        c
        for c in configs
        if c.kwargs['BM'] * width <= (16384 if c.num_warps >= 8 else 8192)
        and c.kwargs['BN'] * width <= 16384
    ]
    return small or configs[-1:]


#: (BM, BN, warps, stages) and the largest number of registers, candidates of the autotuner
FORWARD_SIZES = (
    (128, 64, 8, 3, 128),
    (128, 64, 8, 3),
    (128, 64, 4, 3),
    (128, 128, 8, 2),
    (64, 64, 4, 3),
    (64, 32, 4, 3),
    (32, 32, 4, 2),
)
BACKWARD_SIZES = (
    (64, 64, 4, 2),
    (128, 64, 8, 2),
    (64, 128, 8, 2),
    (64, 32, 4, 2),
    (32, 64, 4, 2),
    (32, 32, 4, 2),
)
FORWARD, BACKWARD = _configs(*FORWARD_SIZES), _configs(*BACKWARD_SIZES)
KEY = ['bucket_q', 'bucket_k', 'BD', 'BDV', 'SHIFTMAX', 'WHOLE']


@triton.jit
def _operand(x, DTYPE: tl.constexpr):
    """Return ``x`` as an operand of a matrix product in DTYPE.

    The interpreter multiplies the bits of bfloat16 as if they were integers, and converts to
    bfloat16 by truncation. There the operand is rounded in float32 arithmetic and stays float32.
    """
    if not INTERPRETED:
        return x.to(DTYPE)
    elif DTYPE == tl.bfloat16 and x.dtype == tl.float32:
        # Veltkamp: what remains of x after the subtractions has 24 - 16 bits, rounded to nearest
        high = x * 65537.0
        return high - (high - x)
    elif DTYPE == tl.float16:
        return x.to(tl.float16).to(tl.float32)
    else:
        return x.to(tl.float32)


@triton.jit
def _product(a, b, acc, A_EXACT: tl.constexpr, B_EXACT: tl.constexpr, DTYPE: tl.constexpr):
    """Return acc + a b, where v has DTYPE. An EXACT operand has values that bfloat16 holds exactly
    (spikes, powers of two).

    In float32 the operand that is not exact is split into three bfloat16, which together hold its
    24 bits: three products at 16-bit speed give the result of float32.
    """
    if DTYPE != tl.float32:
        return tl.dot(_operand(a, DTYPE), _operand(b, DTYPE), acc)
    elif A_EXACT:
        exact = _operand(a, tl.bfloat16)
        for _ in tl.static_range(3):
            piece = _operand(b, tl.bfloat16)
            acc = tl.dot(exact, piece, acc)
            b -= piece.to(tl.float32)
        return acc
    elif B_EXACT:
        exact = _operand(b, tl.bfloat16)
        for _ in tl.static_range(3):
            piece = _operand(a, tl.bfloat16)
            acc = tl.dot(piece, exact, acc)
            a -= piece.to(tl.float32)
        return acc
    else:
        return tl.dot(a, b, acc, input_precision='tf32x3')


@triton.jit
def _scores(a, b, SPIKES: tl.constexpr):
    """Return the product a b.

    It is int32 for int8 operands and otherwise float32; it is exact for integers (sums below 2^24).
    """
    if a.dtype == tl.int8:
        return tl.dot(a, b, out_dtype=tl.int32)
    elif a.dtype != tl.float32:
        return tl.dot(_operand(a, a.dtype), _operand(b, b.dtype))
    elif SPIKES:
        return tl.dot(_operand(a, tl.bfloat16), _operand(b, tl.bfloat16))
    else:
        return tl.dot(a, b, input_precision='ieee')


@triton.jit
def _pow2(x, shift, CLAMP: tl.constexpr):
    """Return 2^(x - shift) of integers as the bits of a float32.

    With CLAMP, values below 2^-126 become 0; without it, no such value may occur.
    """
    if x.dtype == tl.int32:
        field = x + (127 - shift).to(tl.int32)
        if CLAMP:
            field = tl.maximum(field, 0)
    else:
        if CLAMP:
            biased = tl.maximum(x - shift, -127.0) + BIAS
        else:
            # Not x + (BIAS - shift): Triton would use that term as the initial value of the tensor
            # core's sum, where 24 exact bits are not guaranteed; and ptxas 12.8 then takes the low
            # bits for constants and removes the product (observed in its SASS).
            biased = x - (shift - BIAS)
        field = biased.to(tl.int32, bitcast=True)  # the bits above the exponent are shifted out
    return (field << 23).to(tl.float32, bitcast=True)


@triton.jit
def _weights(x, shift, factor, WHOLE: tl.constexpr, CLAMP: tl.constexpr):
    """Return 2^(factor * x - shift); factor is 1 if WHOLE."""
    if WHOLE:
        return _pow2(x, shift, CLAMP)
    else:
        return tl.exp2(x.to(tl.float32) * factor - shift)


@triton.jit
def _block(base, start, o_n, o_d, stride_n, stride_d, n, D: tl.constexpr, BD: tl.constexpr):
    """Load the tokens ``start + o_n`` and channels ``o_d`` of a head (one offset is a column, the
    other a row), with zeros outside."""
    start = tl.full([], start, tl.int64)
    m = o_n < n - start
    if D < BD:
        m = m & (o_d < D)
    return tl.load(base + start * stride_n + o_n * stride_n + o_d * stride_d, mask=m, other=0)


@triton.jit
def _attend(
    b_acc,
    b_sum,
    b_top,
    b_q,
    k,
    v,
    start,
    k_n,
    k_d,
    v_n,
    v_d,
    n_k,
    factor,
    D: tl.constexpr,
    D_V: tl.constexpr,
    BD: tl.constexpr,
    BDV: tl.constexpr,
    SHIFTMAX: tl.constexpr,
    SPIKES: tl.constexpr,
    WHOLE: tl.constexpr,
    DIRECT: tl.constexpr,
    TAIL: tl.constexpr,
    BN: tl.constexpr,
):
    """Add the keys ``start`` to ``start + BN`` to the sums, which are in units of 2^top."""
    o_n, o_d, o_v = tl.arange(0, BN), tl.arange(0, BD), tl.arange(0, BDV)
    b_k = _block(k, start, o_n[None, :], o_d[:, None], k_n, k_d, n_k, D, BD)  # (BD, BN)
    b_v = _block(v, start, o_n[:, None], o_v[None, :], v_n, v_d, n_k, D_V, BDV)
    b_x = _scores(b_q, b_k, SPIKES)
    m_k = o_n[None, :] < n_k - start
    if DIRECT:
        b_w = _pow2(b_x, tl.zeros([1, 1], tl.float32), False)
    else:
        b_x = b_x.to(tl.float32)
        if not WHOLE:
            b_x *= factor
        if TAIL:
            b_x = tl.where(m_k, b_x, float('-inf'))
        b_new = tl.maximum(b_top, tl.floor(tl.max(b_x, 1)))
        b_w = _weights(b_x, b_new[:, None], 1.0, WHOLE, True)
        b_shrink = _pow2(b_top, b_new, True)  # the maxima are integers, so this is exact
        b_acc *= b_shrink[:, None]
        b_sum *= b_shrink
        b_top = b_new
    if TAIL:
        b_w = tl.where(m_k, b_w, 0.0)
    b_sum += tl.sum(b_w, 1)
    b_acc = _product(b_w, b_v, b_acc, WHOLE, False, v.dtype.element_ty)
    return b_acc, b_sum, b_top


@triton.jit
def _exceeds(
    b_q,
    b_target,
    m_open,
    k,
    k_n,
    k_d,
    n_k,
    factor,
    D: tl.constexpr,
    BD: tl.constexpr,
    SPIKES: tl.constexpr,
    WHOLE: tl.constexpr,
    BITS: tl.constexpr,
    WINDOWS: tl.constexpr,
    FIXED: tl.constexpr,
    BN: tl.constexpr,
):
    """Return whether sum_j 2^x_j exceeds 2^target, exactly, for the rows ``m_open`` whose float
    sums are too close to decide.

    The difference is added up in windows of BITS exponents, from the target down, in units of the
    last bit of a window. The powers below a window sum to less than n_k units (n_k powers, each
    less than one unit). A row is therefore decided if the difference is above 0, if it is -n_k or
    less, or if no powers are below. The other rows, few and fewer, are tested in the next window;
    BITS = 62 - bit_length(n_k) leaves room for their difference. Every row is decided after n_k +
    bit_length(n_k) exponents: a smaller negative difference has more ones in its binary expansion
    than n_k powers can set. Only integers can sum to a power of two: rows with a fractional score
    keep the result of the float sum.
    """
    o_n, o_d = tl.arange(0, BN), tl.arange(0, BD)
    b_rest = tl.where(m_open, -1, 0).to(tl.int64) << (BITS - 1)
    m_above = tl.zeros_like(b_target) > 0
    m_whole = tl.zeros_like(b_target) == 0
    for window in range(WINDOWS):
        if tl.max(m_open.to(tl.int32)) > 0:
            b_first = b_target - window * BITS
            b_sum = tl.zeros_like(b_rest)
            b_below = tl.zeros_like(b_target)
            for block in range((FIXED + BN - 1) // BN if FIXED >= 0 else (n_k + BN - 1) // BN):
                b_k = _block(k, block * BN, o_n[None, :], o_d[:, None], k_n, k_d, n_k, D, BD)
                b_x = _scores(b_q, b_k, SPIKES).to(tl.float32)
                if not WHOLE:
                    b_x *= factor
                m_k = o_n[None, :] < n_k - block * BN
                m_whole = m_whole & (tl.max(tl.where(m_k & (b_x != tl.floor(b_x)), 1, 0), 1) == 0)
                b_gap = b_first[:, None] - b_x
                m_here = m_k & (b_gap >= 0) & (b_gap < BITS)
                b_bit = tl.where(m_here, BITS - 1 - b_gap, 0.0).to(tl.int64)
                b_sum += tl.sum(tl.where(m_here, tl.full(b_bit.shape, 1, tl.int64) << b_bit, 0), 1)
                b_below = tl.maximum(b_below, tl.max(tl.where(m_k & (b_gap >= BITS), 1.0, 0.0), 1))
            b_rest += b_sum
            m_above = tl.where(m_open, (b_rest > 0) | ((b_rest == 0) & (b_below > 0)), m_above)
            m_open = m_open & (b_rest < 0) & (b_rest > -n_k) & (b_below > 0)
            b_rest = tl.where(m_open, b_rest, 0) << BITS
    return m_above, m_whole


@triton.autotune(configs=FORWARD, key=KEY, prune_configs_by={'early_config_prune': _fitting})
@triton.jit
def bipolar_attention_fwd_kernel(
    q,
    k,
    v,
    out,
    g,
    weight_sum,
    factor,
    q_b,
    q_h,
    q_n,
    q_d,
    k_b,
    k_h,
    k_n,
    k_d,
    v_b,
    v_h,
    v_n,
    v_d,
    heads,
    n_q,
    n_k,
    bucket_q,
    bucket_k,
    D: tl.constexpr,
    D_V: tl.constexpr,
    BD: tl.constexpr,
    BDV: tl.constexpr,
    SHIFTMAX: tl.constexpr,
    SPIKES: tl.constexpr,
    WHOLE: tl.constexpr,
    DIRECT: tl.constexpr,
    BITS: tl.constexpr,
    WINDOWS: tl.constexpr,
    FIXED_K: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Compute BM queries of one head with all keys.

    See the docstring of this file for the names and ``common`` for the results.
    """
    blocks_q = tl.cdiv(n_q, BM)
    i_m, i_h = tl.program_id(0) % blocks_q, (tl.program_id(0) // blocks_q).to(tl.int64)
    q += i_h // heads * q_b + i_h % heads * q_h
    k += i_h // heads * k_b + i_h % heads * k_h
    v += i_h // heads * v_b + i_h % heads * v_h
    o_m, o_d, o_v = tl.arange(0, BM), tl.arange(0, BD), tl.arange(0, BDV)
    b_q = _block(q, i_m * BM, o_m[:, None], o_d[None, :], q_n, q_d, n_q, D, BD)
    b_acc = tl.zeros([BM, BDV], tl.float32)
    b_sum = tl.zeros([BM], tl.float32)
    b_top = tl.zeros([BM], tl.float32) + (0.0 if DIRECT else float('-inf'))
    whole_blocks = n_k // BN
    for block in range(n_k // BN if FIXED_K < 0 else FIXED_K // BN):
        b_acc, b_sum, b_top = _attend(
            b_acc,
            b_sum,
            b_top,
            b_q,
            k,
            v,
            block * BN,
            k_n,
            k_d,
            v_n,
            v_d,
            n_k,
            factor,
            D,
            D_V,
            BD,
            BDV,
            SHIFTMAX,
            SPIKES,
            WHOLE,
            DIRECT,
            False,
            BN,
        )
    if whole_blocks * BN < n_k:
        b_acc, b_sum, b_top = _attend(
            b_acc,
            b_sum,
            b_top,
            b_q,
            k,
            v,
            whole_blocks * BN,
            k_n,
            k_d,
            v_n,
            v_d,
            n_k,
            factor,
            D,
            D_V,
            BD,
            BDV,
            SHIFTMAX,
            SPIKES,
            WHOLE,
            DIRECT,
            True,
            BN,
        )
    row = i_h * n_q + i_m * BM + o_m
    m_q = o_m < n_q - i_m * BM
    if SHIFTMAX:
        # sum = (1 + fraction / 2^23) * 2^exponent
        bits = b_sum.to(tl.int32, bitcast=True)
        fraction = bits & 0x7FFFFF
        exponent = b_top + ((bits >> 23) - 127).to(tl.float32)
        b_g = exponent + tl.where(fraction > 0, 1.0, 0.0)
        # The sum is exact if every power is a multiple of 2^-reach and the sum is below 2^24 of
        # these units.
        b_reach = tl.sum(tl.abs(b_q.to(tl.float32)), 1)
        if WHOLE:
            m_exact = exponent + b_reach <= 23
        else:
            m_exact = b_reach == 0
        # Otherwise the error of a sum of blocks is (BN + blocks) / 2 units of the fraction; powers
        # from exp2 add 4. The bound is twice that.
        ties = 2 * (BN + whole_blocks + 10)
        m_open = m_q & ((m_exact == 0) & ((fraction < ties) | (fraction > 0x800000 - ties)))
        if tl.max(m_open.to(tl.int32)) > 0:
            b_target = exponent + tl.where(fraction > 0x400000, 1.0, 0.0)
            m_above, m_whole = _exceeds(
                b_q,
                b_target,
                m_open,
                k,
                k_n,
                k_d,
                n_k,
                factor,
                D,
                BD,
                SPIKES,
                WHOLE,
                BITS,
                WINDOWS,
                FIXED_K,
                16,
            )
            b_g = tl.where(m_open & m_whole, b_target + tl.where(m_above, 1.0, 0.0), b_g)
        b_scale = _pow2(b_top, b_g, True)
        b_g = tl.where(b_sum == b_sum, b_g, b_sum)  # keep NaN
        tl.store(weight_sum + row, tl.minimum(tl.maximum(b_sum * b_scale, 0.5), 1.0), mask=m_q)
        b_scale = tl.where(b_sum == b_sum, b_scale, b_sum)
    else:
        b_g = (b_top + tl.log2(b_sum)) * LN2
        b_scale = 1.0 / b_sum
    tl.store(g + row, b_g, mask=m_q)
    b_out = b_acc * b_scale[:, None]
    m_out = m_q[:, None] & (o_v[None, :] < D_V)
    tl.store(out + row[:, None] * D_V + o_v[None, :], _stored(b_out, out), mask=m_out)


@triton.jit
def _stored(x, pointer):
    """Return ``x`` in the dtype of a pointer, rounded to nearest also in the interpreter."""
    return _operand(x, pointer.dtype.element_ty).to(pointer.dtype.element_ty)
