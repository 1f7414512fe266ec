"""Bipolar attention in O(n) memory with PyTorch's own attention kernels.

The method uses this identity: with L = log2 sum_j 2^x_j, Shiftmax(x) = softmax_2(x) * 2^(L - g), g
= ceil(L). The kernels compute softmax(ln2 * x) v tile by tile and return its log-sum-exp, which is
ln2 * L. One factor per row in (1/2, 1] turns the result into Shiftmax. The kernels cannot give g
where L is within floating-point error of an integer; :func:`_error` bounds that error, and
``exact_rows`` computes the rows within the bound in exact arithmetic.

Backward: the kernels recompute weights as e^(ln2 * x - normaliser). With ln2 * g as the normaliser
they compute the weights S of Shiftmax, and dx_j = ln2 * S_j (dS_j - delta) with delta = dout . o
for any o that they get. The straight-through rule needs delta = sum_j p_j dS_j, p = softmax_2(x),
so o is the softmax output, out / weight_sum. With g held constant delta is 0, so o is zero.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmbsa.ops.bipolar_attention.common import LN2, unnormalised, unnormalised_backward
from mmbsa.ops.bipolar_attention.exact_rows import exact_normaliser
from mmbsa.ops.exact import MAX_ROW
from mmbsa.ops.registration import working_dtype

HALF = (torch.float16, torch.bfloat16)
aten = torch.ops.aten


def refuses(
    q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float
) -> str | None:
    """Return the reason why PyTorch has no kernel for these tensors, or None if it has one."""
    if normalizer == 'none':
        return None
    if v.device.type not in ('cpu', 'cuda'):
        return f'PyTorch has no such kernel for {v.device.type} tensors'
    if v.device.type == 'cuda' and v.dtype == torch.float64:
        return 'the CUDA kernels support float16, bfloat16 and float32, not float64'
    if normalizer == 'shiftmax' and k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    return None


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    g: Tensor,
    weight_sum: Tensor,
    product: str,
    normalizer: str,
    scale: float,
) -> None:
    """Compute the forward with PyTorch's kernels; arguments as in ``common``."""
    if normalizer == 'none':
        out.copy_(unnormalised(q, k, v, scale))
        return
    base = LN2 if normalizer == 'shiftmax' else 1.0
    attended, lse = _attend(q, k, v, scale * base)
    if normalizer == 'softmax':
        out.copy_(attended)
        g.copy_(lse)
        return
    log2_sum = lse.contiguous().div_(LN2)
    g.copy_(exact_normaliser(log2_sum, *_error(k.size(-2), v.dtype), q, k, product, scale))
    weight_sum.copy_(log2_sum.sub_(g).exp2_().clamp_(0.5, 1.0))
    torch.mul(attended, weight_sum[..., None], out=out)


def backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    g: Tensor,
    weight_sum: Tensor,
    product: str,
    normalizer: str,
    scale: float,
    grad: str,
):
    """Compute the backward with PyTorch's kernels; arguments as in ``common``, method as in the
    docstring of this file."""
    if normalizer == 'none':
        return unnormalised_backward(grad_out, q, k, v, scale)
    if normalizer == 'softmax':
        grads = _attend_backward(grad_out, q, k, v, out, g, scale)
    else:
        softmax = out / weight_sum[..., None]
        pivot = softmax.to(out.dtype) if grad == 'ste' else torch.zeros_like(out)
        grads = _attend_backward(grad_out, q, k, v, pivot, g * LN2, scale * LN2)
    return grads


def _error(n: int, dtype: torch.dtype) -> tuple[float, float]:
    """Return (slope, constant): the error of the kernels' L is at most slope * |L| + constant.

    Let u be the unit roundoff of the accumulator (2^-24; 2^-53 for float64), s_j = ln2 * scale *
    x_j, p = softmax(s). The log-sum-exp is a max plus the log of sum_j e^(s_j - max). Its error,
    relative to that sum, has these parts:

    * scaling: the error of s_j is at most 3u |s_j| (rounded ln2 * scale, at most two rounded
      products). To first order the error of a term is weighted by its share p_j, and sum_j p_j
      |s_j| <= |lse| + entropy(p) <= |lse| + ln n, as s_j = lse + ln p_j. The max is one of these
      s_j and cancels: 3u (|lse| + ln n);
    * e^t of the rounded difference t: u sum_j p_j |t_j| <= u ln n, since max <= lse; and 40u for
      exp (20 ulp, the least accurate exp of PyTorch in float32; its 16-bit kernels use a cubic with
      an error of 1.6e-4 in log2, for which 2^-12 is added);
    * adding n positive terms in any order and rescaling blocks of 32 or more: 1.25 n u;
    * log, adding max, dividing by ln2: 2u ln n + 3u |lse|.

    Divided by ln2 that is u (6 |L| + 6 log2 n + 58 + 1.81 n), to first order. The bound is twice
    this value, which covers the higher orders: where the first order exceeds 1/4 (millions of
    keys), every row is computed exactly.
    """
    unit = torch.finfo(working_dtype(dtype)).eps  # twice the roundoff
    constant = unit * (6 * math.log2(n) + 58 + 1.81 * n)
    return 6 * unit, constant + (2.0**-11 if dtype in HALF else 0.0)


def _ready(x: Tensor, width: int) -> Tensor:
    """Return ``x`` with the layout that the kernels need.

    It has ``width`` columns (the new ones are zero), is dense in the last dimension and has no
    stride of 0.
    """
    if x.size(-1) != width:
        return pad(x, (0, width - x.size(-1)))
    if x.stride(-1) != 1 or 0 in x.stride():
        return x.contiguous()
    return x


def _widths(q: Tensor, v: Tensor) -> tuple[int, int, bool]:
    """Return the padded number of columns of q and k, that of v, and whether CUDA's flash kernel
    supports them."""
    d, d_v = q.size(-1), v.size(-1)
    if q.device.type == 'cpu':
        return max(d, d_v), max(d, d_v), False
    flash = (
        q.dtype in HALF
        and d == d_v
        and d <= 256
        and torch.cuda.get_device_capability(q.device) >= (8, 0)
    )
    return -(-d // 8) * 8, -(-d_v // 8) * 8, flash


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return softmax(scale * q k^T) v and its natural log-sum-exp (B, H, n_q) in the dtype of the
    accumulator.

    The CPU kernel needs equal widths. Zero columns of q and k do not change the scores, and zero
    columns of v do not change the other columns. Padding makes the inner products longer; cutting v
    into pieces of width d would compute the exponentials several times.
    """
    d_v = v.size(-1)
    width, width_v, flash = _widths(q, v)
    q, k, v = _ready(q, width), _ready(k, width), _ready(v, width_v)
    if q.device.type == 'cpu':
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, scale=scale
        )
    elif flash:
        out, lse = aten._scaled_dot_product_flash_attention(
            q, k, v, 0.0, False, False, scale=scale
        )[:2]
    else:
        out, lse = aten._scaled_dot_product_efficient_attention(
            q, k, v, None, True, 0.0, False, scale=scale
        )[:2]
    return out[..., :d_v], lse[..., : q.size(-2)]


def _attend_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
):
    """Return the gradients of :func:`_attend` for weights e^(scale * q k^T - lse) and delta =
    rowsum(grad_out * out)."""
    d, d_v = q.size(-1), v.size(-1)
    width, width_v, flash = _widths(q, v)
    grad_out, v, out = (_ready(x, width_v) for x in (grad_out, v, out))
    q, k = _ready(q, width), _ready(k, width)
    if q.device.type == 'cpu':
        grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, q, k, v, out, lse, 0.0, False, scale=scale
        )
    else:
        seed = torch.zeros((), dtype=torch.int64, device=q.device)  # of a dropout that is off
        if flash:
            grads = aten._scaled_dot_product_flash_attention_backward(
                grad_out,
                q,
                k,
                v,
                out,
                lse,
                None,
                None,
                q.size(-2),
                k.size(-2),
                0.0,
                False,
                seed,
                seed,
                scale=scale,
            )
        else:
            # This kernel reads the normaliser in blocks of 32 rows; the added infinite values give
            # weights of 0.
            lse = pad(lse, (0, -lse.size(-1) % 32), value=math.inf)
            grads = aten._scaled_dot_product_efficient_attention_backward(
                grad_out,
                q,
                k,
                v,
                None,
                out,
                lse,
                seed,
                seed,
                0.0,
                [True, True, True, False],
                False,
                scale=scale,
            )
    return grads[0][..., :d], grads[1][..., :d], grads[2][..., :d_v]
