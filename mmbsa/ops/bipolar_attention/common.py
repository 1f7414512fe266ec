"""What the implementations of bipolar attention share: the contract of their results, and the layout of heads.

Forward of an implementation: ``(q, k, v, product, normalizer, scale) -> (out, g, mass)`` on tensors of shape (B, H, n, d)
that share one floating dtype, contiguous results. ``out`` (B, H, n_q, d_v) has that dtype; ``g`` and ``mass`` are float32
(float64 for float64 inputs) and say what the weights of a query were divided by, and what they sum to:

| normalizer | g (B, H, n_q) | mass (B, H, n_q) |
|---|---|---|
| shiftmax | the exponent of eq. 15, an integer: weights are 2^(score - g) | their sum, in (1/2, 1] |
| softmax | log-sum-exp: weights are e^(score - g) | empty: the sum is 1 |
| none | empty | empty |

Backward: ``(grad_out, q, k, v, out, g, mass, product, normalizer, scale, grad) -> (grad_q, grad_k, grad_v)``, contiguous.
"""
import math

from torch import Tensor

LN2 = math.log(2.)
PRODUCTS = ('ternary', 'binary', 'real')
NORMALIZERS = ('shiftmax', 'softmax', 'none')
GRADS = ('ste', 'detach')


def as_heads(x: Tensor) -> Tensor:
    """View (..., n, d) as (B, H, n, d), H being the last of the leading dimensions; copies where no view exists."""
    if x.dim() == 4:
        return x
    if x.dim() > 4:
        return x.flatten(0, -4)
    return x[None] if x.dim() == 3 else x[None, None]
