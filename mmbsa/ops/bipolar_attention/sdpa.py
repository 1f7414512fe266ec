"""Bipolar attention in O(n) memory, on PyTorch's own attention kernels.

The identity it stands on: with L = log2 sum_j 2^x_j, Shiftmax(x) = softmax_2(x) * 2^(L - g), g = ceil(L). The kernels
compute softmax(ln2 * x) v tile by tile and return its log-sum-exp, which is ln2 * L; one factor per row in (1/2, 1] makes
Shiftmax of it. What the kernels cannot give is g where L is within float error of an integer; :func:`_edge` bounds that
error, and the rows inside it are settled in exact arithmetic by :func:`_settle`.

Backward: the kernels recompute weights as e^(ln2 * x - normaliser). Handed ln2 * g for the normaliser they get Shiftmax's
weights S themselves, and compute dx_j = ln2 * S_j (dS_j - delta) with delta = dout . o for whatever o they are given. The
straight-through rule wants delta = sum_j p_j dS_j, p = softmax_2(x): o is the softmax output, out / mass. With g held
constant delta vanishes: o is zero.
"""
import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmbsa.ops.bipolar_attention.common import LN2
from mmbsa.ops.exact import MAX_ROW, excess, gaps
from mmbsa.ops.registration import working_dtype

#: Scores held at once while edge rows are settled: 1 MiB of float32, which stays in a core's cache.
TILE = 1 << 18
HALF = (torch.float16, torch.bfloat16)
aten = torch.ops.aten


def refuses(q: Tensor, k: Tensor, v: Tensor, normalizer: str) -> str | None:
    """Why PyTorch has no kernel for these tensors, or None."""
    if normalizer == 'none':
        return None
    if v.device.type not in ('cpu', 'cuda'):
        return f'there is no such kernel for {v.device.type} tensors'
    if v.device.type == 'cuda' and v.dtype == torch.float64:
        return 'the CUDA kernels take float16, bfloat16 and float32, not float64'
    if normalizer == 'shiftmax' and k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    return None


def forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, scale: float):
    """See ``common``."""
    empty = v.new_empty(0, dtype=working_dtype(v.dtype))
    if normalizer == 'none':
        return _unnormalised(q, k, v, scale), empty, empty.clone()
    if normalizer == 'softmax':
        out, lse = _attend(q, k, v, scale)
        return out.contiguous(), lse.contiguous(), empty
    out, lse = _attend(q, k, v, scale * LN2)
    log2_sum = lse.contiguous() / LN2
    g = log2_sum.ceil()
    near = _near_integer(log2_sum, k.size(-2), v.dtype)
    if bool(near.any()):
        _settle(q, k, scale, product, g, near)
    mass = torch.exp2(log2_sum - g).clamp_(0.5, 1.)
    result = torch.empty_like(out, memory_format=torch.contiguous_format)
    return torch.mul(out, mass[..., None], out=result), g, mass


def backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, g: Tensor, mass: Tensor, product: str,
             normalizer: str, scale: float, grad: str):
    """See ``common`` and the head of this file."""
    if normalizer == 'none':
        return _unnormalised_backward(grad_out, q, k, v, scale)
    if normalizer == 'softmax':
        grads = _attend_backward(grad_out, q, k, v, out, g, scale)
    else:
        pivot = (out / mass[..., None]).to(out.dtype) if grad == 'ste' else torch.zeros_like(out)
        grads = _attend_backward(grad_out, q, k, v, pivot, g * LN2, scale * LN2)
    return tuple(x.contiguous() for x in grads)


def _near_integer(log2_sum: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    """Rows (bool, of the shape of ``log2_sum``) where ceil of the kernels' L may not be ceil of the true L.

    Let u be the unit roundoff of the accumulator (2^-24; 2^-53 for float64), s_j = ln2 * scale * x_j, p = softmax(s). The
    log-sum-exp is a max plus the log of sum_j e^(s_j - max), and errs, relatively to that sum, by

    * scaling: s_j is off by at most 4u |s_j| (rounded ln2 * scale, at most three rounded products). A term's error counts
      by its share p_j, and sum_j p_j |s_j| <= |lse| + 2 ln n, since max - sum_j p_j s_j = max - lse + entropy(p) <= ln n
      and |max| <= |lse| + ln n. Together with the max itself: 4u (2 |lse| + 3 ln n);
    * e^t of the rounded difference t: u sum_j p_j |t_j| <= u ln n, and 40u for exp (20 ulp, the weakest PyTorch uses in
      float32; its 16-bit kernels use a cubic with an error of 1.6e-4 in log2, for which 2^-12 is added);
    * adding n positive terms in any order and rescaling blocks of 32 or more: 1.25 n u;
    * log, adding max, dividing by ln2: 2u ln n + 3u |lse|.

    Divided by ln2 that is u (11 |L| + 22 log2 n + 58 + 1.81 n), to first order. Twice as much is allowed, which covers the
    higher orders: where the first order exceeds 1/4 (millions of keys), every row is taken.
    """
    unit = torch.finfo(working_dtype(dtype)).eps  # twice the roundoff
    constant = unit * (22 * math.log2(n) + 58 + 1.81 * n) + (2. ** -11 if dtype in HALF else 0.)
    distance = (log2_sum - log2_sum.round()).abs_()
    return distance.sub_(log2_sum.abs(), alpha=11 * unit) <= constant


def _settle(q: Tensor, k: Tensor, scale: float, product: str, g: Tensor, near: Tensor) -> None:
    """Write the exact g of the rows ``near`` (B, H, n_q) into ``g``; holds no more than about ``TILE`` scores at a time.

    Rows of zeros need no scores: sum_j 2^0 = n. They come from silent queries, and where many rows are on the edge also
    from silent keys: k_j . q = 0 for all j exactly when (k^T k) q = 0, which costs O(n d^2) for all rows together.
    """
    n, d = k.shape[-2:]
    index = near.nonzero(as_tuple=True)
    rows = q[index]
    alive = rows.abs().amax(-1) != 0
    if len(rows) * 8 > near.numel() and n & (n - 1) == 0:
        whole = product != 'real' and n * d <= 1 << 24  # then float32 holds (k^T k) q without rounding
        wide = g.dtype if whole else torch.float64
        keys = k.to(wide)
        alive &= (q.to(wide) @ (keys.transpose(-1, -2) @ keys)).abs().amax(-1)[index] != 0
    exact = g.new_full((len(rows),), (n - 1).bit_length())
    if bool(alive.any()):
        batch, head, _ = (x[alive] for x in index)
        exact[alive] = _exact_g(rows[alive].to(g.dtype), batch * k.size(1) + head, k, scale)
    g[index] = exact


def _exact_g(rows: Tensor, head: Tensor, k: Tensor, scale: float) -> Tensor:
    """g of some queries, each against the keys of its own head.

    Args:
        rows: (R, d), sorted by head.
        head: (R,) index of the head among all B * H.
        k: (B, H, n, d).

    Returns:
        (R,) in the dtype of ``rows``.
    """
    n, d = k.shape[-2:]
    if len(rows) * n * d <= TILE:  # a few rows: give each its own copy of the keys
        keys = k[head // k.size(1), head % k.size(1)].to(rows.dtype)
        return _normaliser((keys @ rows[..., None]).squeeze(-1), scale)
    result = torch.empty_like(rows[:, 0])
    first = 0
    for index, count in zip(*(x.tolist() for x in head.unique_consecutive(return_counts=True))):
        keys = k[index // k.size(1), index % k.size(1)].to(rows.dtype).transpose(-1, -2)
        for start in range(first, first + count, max(1, TILE // n)):
            stop = min(start + max(1, TILE // n), first + count)
            result[start:stop] = _normaliser(rows[start:stop] @ keys, scale)
        first += count
    return result


def _normaliser(score: Tensor, scale: float) -> Tensor:
    top, gap = gaps(score if scale == 1. else score * scale)
    return (top + excess(gap)).squeeze(-1)


def _ready(x: Tensor, width: int) -> Tensor:
    """x as the kernels take it: ``width`` columns, the new ones zero, dense in the last dimension, no stride of 0."""
    if x.size(-1) != width:
        return pad(x, (0, width - x.size(-1)))
    if x.stride(-1) != 1 or 0 in x.stride():
        return x.contiguous()
    return x


def _widths(q: Tensor, v: Tensor) -> tuple[int, int, bool]:
    """Columns that q and k, and v, are padded to; and whether CUDA's flash kernel takes them."""
    d, d_v = q.size(-1), v.size(-1)
    if q.device.type == 'cpu':
        return max(d, d_v), max(d, d_v), False
    flash = q.dtype in HALF and d == d_v and d <= 256 and torch.cuda.get_device_capability(q.device) >= (8, 0)
    return -(-d // 8) * 8, -(-d_v // 8) * 8, flash


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(scale * q k^T) v and its log-sum-exp (B, H, n_q), natural, in the accumulator's dtype.

    The CPU kernel wants equal widths. Zero columns of q and k leave the scores alone, zero columns of v the other columns:
    padding costs one longer inner product, where cutting v into pieces of width d repeats the exponentials.
    """
    d_v = v.size(-1)
    width, width_v, flash = _widths(q, v)
    q, k, v = _ready(q, width), _ready(k, width), _ready(v, width_v)
    if q.device.type == 'cpu':
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0., False, scale=scale)
    elif flash:
        out, lse = aten._scaled_dot_product_flash_attention(q, k, v, 0., False, False, scale=scale)[:2]
    else:
        out, lse = aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0., False, scale=scale)[:2]
    return out[..., :d_v], lse[..., :q.size(-2)]


def _attend_backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float):
    """Gradients of :func:`_attend` for weights e^(scale * q k^T - lse) and delta = rowsum(grad_out * out)."""
    d, d_v = q.size(-1), v.size(-1)
    width, width_v, flash = _widths(q, v)
    grad_out, v, out = (_ready(x, width_v) for x in (grad_out, v, out))
    q, k = _ready(q, width), _ready(k, width)
    if q.device.type == 'cpu':
        grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, q, k, v, out, lse, 0., False, scale=scale)
    else:
        seed = torch.zeros((), dtype=torch.int64, device=q.device)  # of a dropout that is off
        if flash:
            grads = aten._scaled_dot_product_flash_attention_backward(
                grad_out, q, k, v, out, lse, None, None, q.size(-2), k.size(-2), 0., False, seed, seed, scale=scale)
        else:
            # This kernel reads the normaliser in blocks of 32 rows; the infinite ones give weights of 0.
            lse = pad(lse, (0, -lse.size(-1) % 32), value=math.inf)
            grads = aten._scaled_dot_product_efficient_attention_backward(
                grad_out, q, k, v, None, out, lse, seed, seed, 0., [True, True, True, False], False, scale=scale)
    return grads[0][..., :d], grads[1][..., :d], grads[2][..., :d_v]


def _unnormalised(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """(q k^T) v * scale in the cheaper order.

    q (k^T v) costs (n_q + n_k) d d_v, (q k^T) v costs n_q n_k (d + d_v). The second is taken only for rows so short that
    their map is smaller than the operands, so memory stays linear either way. Sums are kept in float32 at least.
    """
    dtype = working_dtype(v.dtype)
    q, k, values = q.to(dtype), k.to(dtype), v.to(dtype)
    n_q, n_k, d, d_v = q.size(-2), k.size(-2), q.size(-1), v.size(-1)
    if n_q * n_k * (d + d_v) < (n_q + n_k) * d * d_v:
        out = (q @ k.transpose(-1, -2)) @ values
    else:
        out = q @ (k.transpose(-1, -2) @ values)
    return (out if scale == 1. else out * scale).to(v.dtype)


def _unnormalised_backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float):
    """Each gradient is again an unnormalised product: dq = dout (v^T k), dk = v (dout^T q), dv = k (q^T dout)."""
    return (_unnormalised(grad_out, v, k, scale), _unnormalised(v, grad_out, q, scale),
            _unnormalised(k, q, grad_out, scale))
