"""What the implementations of bipolar attention share: the contract of their results, and the
layout of heads.

Forward of an implementation: ``(q, k, v, out, g, weight_sum, product, normalizer, scale)`` on
tensors of shape (B, H, n, d) that share one floating dtype. It writes into the last three tensors,
which are contiguous. ``out`` (B, H, n_q, d_v) has v's dtype; ``g`` and ``weight_sum`` are float32
(float64 for float64 inputs) and say what the weights of a query were divided by, and what they sum
to:

| normalizer | g (B, H, n_q) | weight_sum (B, H, n_q) |
|---|---|---|
| shiftmax | the integer exponent of eq. 15: weights are 2^(score - g) | in (1/2, 1] |
| softmax | log-sum-exp: weights are e^(score - g) | empty: the sum is 1 |
| none | empty | empty |

Backward: ``(grad_out, q, k, v, out, g, weight_sum, product, normalizer, scale, grad) -> (grad_q,
grad_k, grad_v)``, in any layout; the op copies those that do not lie in memory as their operands
do.
"""

import math

from torch import Tensor

from mmbsa.ops.registration import working_dtype

LN2 = math.log(2.0)
#: Scores that an implementation in linear memory holds at once: 1 MiB of float32, which stays in a
#: core's cache.
TILE = 1 << 18
PRODUCTS = ('ternary', 'binary', 'real')
NORMALIZERS = ('shiftmax', 'softmax', 'none')
GRADS = ('ste', 'detach')


def as_heads(x: Tensor) -> Tensor:
    """View (..., n, d) as (B, H, n, d), H being the last of the leading dimensions.

    Copies where no view exists.
    """
    if x.dim() == 4:
        return x
    if x.dim() > 4:
        return x.flatten(0, -4)
    return x[None] if x.dim() == 3 else x[None, None]


def unnormalised(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """(q k^T) v * scale in the cheaper order.

    q (k^T v) costs (n_q + n_k) d d_v, (q k^T) v costs n_q n_k (d + d_v). The second is taken only
    for rows so short that their map is smaller than the operands, so memory stays linear either
    way. Sums are kept in float32 at least.
    """
    dtype = working_dtype(v.dtype)
    q, k, values = q.to(dtype), k.to(dtype), v.to(dtype)
    n_q, n_k, d, d_v = q.size(-2), k.size(-2), q.size(-1), v.size(-1)
    if n_q * n_k * (d + d_v) < (n_q + n_k) * d * d_v:
        out = (q @ k.transpose(-1, -2)) @ values
    else:
        out = q @ (k.transpose(-1, -2) @ values)
    return (out if scale == 1.0 else out * scale).to(v.dtype)


def unnormalised_backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float):
    """Each gradient is again an unnormalised product.

    dq = dout (v^T k), dk = v (dout^T q), dv = k (q^T dout).
    """
    return (
        unnormalised(grad_out, v, k, scale),
        unnormalised(v, grad_out, q, scale),
        unnormalised(k, q, grad_out, scale),
    )
