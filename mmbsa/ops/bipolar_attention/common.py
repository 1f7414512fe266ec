"""Common parts of the implementations of bipolar attention: their arguments and results, and the
layout of heads.

The forward of an implementation has the arguments
``(q, k, v, out, g, weight_sum, product, normalizer, scale)``. The tensors have the shape (B, H, n,
d) and one floating dtype. The forward writes into the contiguous tensors ``out``, ``g`` and
``weight_sum``. ``out`` (B, H, n_q, d_v) has the dtype of v. ``g`` is the normaliser of a query and
``weight_sum`` the sum of its weights, float32 (float64 for float64 inputs):

| normalizer | g (B, H, n_q) | weight_sum (B, H, n_q) |
|---|---|---|
| shiftmax | the integer exponent of eq. 15: weights are 2^(score - g) | in (1/2, 1] |
| softmax | log-sum-exp: weights are e^(score - g) | empty: the sum is 1 |
| none | empty | empty |

The backward is ``(grad_out, q, k, v, out, g, weight_sum, product, normalizer, scale, grad) ->
(grad_q, grad_k, grad_v)``. The gradients may have any memory layout; the op copies a gradient whose
layout differs from that of its operand.
"""

import math

from torch import Tensor

from mmbsa.ops.registration import working_dtype

LN2 = math.log(2.0)
#: Number of scores that an implementation with linear memory stores at once: 1 MiB of float32,
#: which fits into the cache of a core.
TILE = 1 << 18
PRODUCTS = ('ternary', 'binary', 'real')
NORMALIZERS = ('shiftmax', 'softmax', 'none')
GRADS = ('ste', 'detach')


def as_heads(x: Tensor) -> Tensor:
    """Return a view (B, H, n, d) of ``x`` (..., n, d); H is the last of the leading dimensions.

    If no view is possible, the tensor is copied.
    """
    if x.dim() == 4:
        return x
    if x.dim() > 4:
        return x.flatten(0, -4)
    return x[None] if x.dim() == 3 else x[None, None]


def unnormalised(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Compute (q k^T) v * scale with the cheaper order of the two products.

    q (k^T v) costs (n_q + n_k) d d_v multiply-adds, (q k^T) v costs n_q n_k (d + d_v). The second
    order is used only if the n_q x n_k scores are smaller than the operands, so memory is linear in
    both cases. Sums are computed in float32 or float64.

    Args:
        q: (B, H, n_q, d).
        k: (B, H, n_k, d).
        v: (B, H, n_k, d_v).
        scale: factor on the output.
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
    """Return the gradients of :func:`unnormalised` to q, k and v; each is again an unnormalised
    product.

    dq = dout (v^T k), dk = v (dout^T q), dv = k (q^T dout).
    """
    return (
        unnormalised(grad_out, v, k, scale),
        unnormalised(v, grad_out, q, scale),
        unnormalised(k, q, grad_out, scale),
    )
