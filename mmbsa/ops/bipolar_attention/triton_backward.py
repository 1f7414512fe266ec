"""Triton kernels of the backward of bipolar attention: one pass over blocks of queries, one over
blocks of keys, no atomics.

With S the weights, which both passes recompute from the scores and g, and dS = dout v^T:

    dx_ij = S_ij (dS_ij - delta_i) delta_i = dout_i . out_i / weight_sum_i   ('ste', softmax)   or 0
    ('detach') dq = dx k,   dk = dx^T q,   dv = S^T dout

dq and dk are multiplied with d(weight's exponent)/dx, ``slope``.

The kernels compute seven products; a kernel that adds dq with atomics needs five. Every gradient is
written once, by one program, in a fixed order, so the backward is deterministic. Names and modes:
see ``triton``.
"""

import triton
import triton.language as tl

from mmbsa.ops.bipolar_attention.triton import (
    BACKWARD,
    KEY,
    _block,
    _fitting,
    _product,
    _scores,
    _stored,
    _weights,
)


@triton.jit
def _row_block(pointer, i_h, start, o_m, n_q):
    """Load the values of the queries ``start + o_m`` of a head from a dense (heads, n_q) tensor,
    with 0 outside."""
    return tl.load(pointer + i_h * n_q + start + o_m, mask=o_m < n_q - start, other=0.0)


@triton.jit
def _add_keys(
    b_dq,
    b_q,
    b_dout,
    b_g,
    b_delta,
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
    SPIKES: tl.constexpr,
    WHOLE: tl.constexpr,
    CLAMP: tl.constexpr,
    TAIL: tl.constexpr,
    BN: tl.constexpr,
):
    """Return b_dq plus the contribution of the keys ``start`` to ``start + BN``."""
    o_n, o_d, o_v = tl.arange(0, BN), tl.arange(0, BD), tl.arange(0, BDV)
    dtype: tl.constexpr = v.dtype.element_ty
    b_k = _block(k, start, o_n[None, :], o_d[:, None], k_n, k_d, n_k, D, BD)  # (BD, BN)
    b_v = _block(v, start, o_n[None, :], o_v[:, None], v_n, v_d, n_k, D_V, BDV)  # (BDV, BN)
    b_w = _weights(_scores(b_q, b_k, SPIKES), b_g[:, None], factor, WHOLE, CLAMP)
    if TAIL:
        b_w = tl.where(o_n[None, :] < n_k - start, b_w, 0.0)
    b_ds = _product(b_dout, b_v, tl.zeros(b_w.shape, tl.float32), False, False, dtype)
    return _product(b_w * (b_ds - b_delta[:, None]), tl.trans(b_k), b_dq, False, SPIKES, dtype)


@triton.autotune(configs=BACKWARD, key=KEY, prune_configs_by={'early_config_prune': _fitting})
@triton.jit
def bipolar_attention_bwd_q_kernel(
    dout,
    q,
    k,
    v,
    out,
    g,
    weight_sum,
    delta,
    dq,
    factor,
    slope,
    dout_b,
    dout_h,
    dout_n,
    dout_d,
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
    out_b,
    out_h,
    out_n,
    out_d,
    dq_b,
    dq_h,
    dq_n,
    dq_d,
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
    STE: tl.constexpr,
    SPIKES: tl.constexpr,
    WHOLE: tl.constexpr,
    CLAMP: tl.constexpr,
    FIXED_K: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Compute the gradient dq of BM queries of one head, and delta (float32, (B * H, n_q)).

    The docstring of this file gives the formulas; ``g`` is the exponent to the base 2.
    """
    blocks_q = tl.cdiv(n_q, BM)
    i_m, i_h = tl.program_id(0) % blocks_q, (tl.program_id(0) // blocks_q).to(tl.int64)
    i_b, i_n = i_h // heads, i_h % heads
    k += i_b * k_b + i_n * k_h
    v += i_b * v_b + i_n * v_h
    o_m, o_d, o_v = tl.arange(0, BM), tl.arange(0, BD), tl.arange(0, BDV)
    first = i_m * BM
    b_q = _block(q + i_b * q_b + i_n * q_h, first, o_m[:, None], o_d[None, :], q_n, q_d, n_q, D, BD)
    b_dout = _block(
        dout + i_b * dout_b + i_n * dout_h,
        first,
        o_m[:, None],
        o_v[None, :],
        dout_n,
        dout_d,
        n_q,
        D_V,
        BDV,
    )
    b_g = _row_block(g, i_h, first, o_m, n_q)
    b_delta = tl.zeros([BM], tl.float32)
    m_q = o_m < n_q - first
    if STE:
        b_out = _block(
            out + i_b * out_b + i_n * out_h,
            first,
            o_m[:, None],
            o_v[None, :],
            out_n,
            out_d,
            n_q,
            D_V,
            BDV,
        )
        b_delta = tl.sum(b_dout.to(tl.float32) * b_out.to(tl.float32), 1)
        if SHIFTMAX:
            b_delta /= tl.load(weight_sum + i_h * n_q + first + o_m, mask=m_q, other=1.0)
    tl.store(delta + i_h * n_q + first + o_m, b_delta, mask=m_q)
    b_dq = tl.zeros([BM, BD], tl.float32)
    for block in range(n_k // BN if FIXED_K < 0 else FIXED_K // BN):
        b_dq = _add_keys(
            b_dq,
            b_q,
            b_dout,
            b_g,
            b_delta,
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
            SPIKES,
            WHOLE,
            CLAMP,
            False,
            BN,
        )
    if n_k // BN * BN < n_k:
        b_dq = _add_keys(
            b_dq,
            b_q,
            b_dout,
            b_g,
            b_delta,
            k,
            v,
            n_k // BN * BN,
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
            SPIKES,
            WHOLE,
            CLAMP,
            True,
            BN,
        )
    p_dq = (
        dq
        + i_b * dq_b
        + i_n * dq_h
        + first.to(tl.int64) * dq_n
        + o_m[:, None] * dq_n
        + o_d[None, :] * dq_d
    )
    tl.store(p_dq, _stored(b_dq * slope, dq), mask=m_q[:, None] & (o_d[None, :] < D))


@triton.autotune(configs=BACKWARD, key=KEY, prune_configs_by={'early_config_prune': _fitting})
@triton.jit
def bipolar_attention_bwd_kv_kernel(
    dout,
    q,
    k,
    v,
    g,
    delta,
    dk,
    dv,
    factor,
    slope,
    dout_b,
    dout_h,
    dout_n,
    dout_d,
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
    dk_b,
    dk_h,
    dk_n,
    dk_d,
    dv_b,
    dv_h,
    dv_n,
    dv_d,
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
    CLAMP: tl.constexpr,
    FIXED_Q: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Compute the gradients dk and dv of BN keys and values of one head.

    Blocks are (keys, queries), so that no weight is transposed. Queries past the end have g = delta
    = 0 and dout = 0: their weights are finite and are multiplied by zeros.
    """
    blocks_k = tl.cdiv(n_k, BN)
    i_k, i_h = tl.program_id(0) % blocks_k, (tl.program_id(0) // blocks_k).to(tl.int64)
    i_b, i_n = i_h // heads, i_h % heads
    dout += i_b * dout_b + i_n * dout_h
    q += i_b * q_b + i_n * q_h
    o_m, o_n, o_d, o_v = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BD), tl.arange(0, BDV)
    dtype: tl.constexpr = v.dtype.element_ty
    first = i_k * BN
    b_k = _block(k + i_b * k_b + i_n * k_h, first, o_n[:, None], o_d[None, :], k_n, k_d, n_k, D, BD)
    b_v = _block(
        v + i_b * v_b + i_n * v_h, first, o_n[:, None], o_v[None, :], v_n, v_d, n_k, D_V, BDV
    )
    b_dk = tl.zeros([BN, BD], tl.float32)
    b_dv = tl.zeros([BN, BDV], tl.float32)
    for block in range((n_q + BM - 1) // BM if FIXED_Q < 0 else (FIXED_Q + BM - 1) // BM):
        start = block * BM
        b_q = _block(q, start, o_m[:, None], o_d[None, :], q_n, q_d, n_q, D, BD)
        b_dout = _block(dout, start, o_m[:, None], o_v[None, :], dout_n, dout_d, n_q, D_V, BDV)
        b_g = _row_block(g, i_h, start, o_m, n_q)
        b_delta = _row_block(delta, i_h, start, o_m, n_q)
        b_w = _weights(
            _scores(b_k, tl.trans(b_q), SPIKES), b_g[None, :], factor, WHOLE, CLAMP
        )  # (BN, BM)
        b_dv = _product(b_w, b_dout, b_dv, WHOLE, False, dtype)
        b_ds = _product(b_v, tl.trans(b_dout), tl.zeros(b_w.shape, tl.float32), False, False, dtype)
        b_dk = _product(b_w * (b_ds - b_delta[None, :]), b_q, b_dk, False, SPIKES, dtype)
    m_k = o_n[:, None] < n_k - first
    at = first.to(tl.int64) + o_n[:, None]
    tl.store(
        dk + i_b * dk_b + i_n * dk_h + at * dk_n + o_d[None, :] * dk_d,
        _stored(b_dk * slope, dk),
        mask=m_k & (o_d[None, :] < D),
    )
    tl.store(
        dv + i_b * dv_b + i_n * dv_h + at * dv_n + o_v[None, :] * dv_d,
        _stored(b_dv, dv),
        mask=m_k & (o_v[None, :] < D_V),
    )
