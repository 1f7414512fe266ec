"""Bipolar attention with all n_q x n_k scores in memory, as eqs. 13-18 define it; the reference in
the tests of the other implementations."""

import torch
from torch import Tensor

from mmbsa.ops.bipolar_attention.common import LN2
from mmbsa.ops.exact import ceil_log2_sum, gaps
from mmbsa.ops.registration import working_dtype


def _scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return q k^T * scale in float32 or float64.

    The result is exact for integer operands if the partial sums are below 2^24 (2^53 in float64).
    """
    dtype = working_dtype(q.dtype)
    score = q.to(dtype) @ k.to(dtype).transpose(-1, -2)
    return score if scale == 1.0 else score * scale


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
    """Compute the forward as in eqs. 13-18; arguments as in ``common``.

    The scores and the sums over the keys are computed in float32 or float64.
    """
    score = _scores(q, k, scale)
    if normalizer == 'shiftmax':
        top, gap = gaps(score)
        exponent = ceil_log2_sum(gap)
        weight = torch.exp2(-gap - exponent)
        g.copy_((top + exponent).squeeze(-1))
        weight_sum.copy_(weight.sum(-1).clamp_(0.5, 1.0))  # eq. 14, violated by rounded sums
    elif normalizer == 'softmax':
        g.copy_(torch.logsumexp(score, -1))
        weight = torch.exp(score - g[..., None])
    else:
        weight = score
    out.copy_(weight @ v.to(score.dtype))


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
    """Compute the gradients of :func:`forward`; arguments as in ``common``.

    ``grad`` is the gradient rule of the ceil in Shiftmax (see ``shiftmax``).
    """
    score = _scores(q, k, scale)
    grad_out = grad_out.to(score.dtype)
    grad_weight = grad_out @ v.to(score.dtype).transpose(-1, -2)
    if normalizer == 'none':
        weight, grad_score = score, grad_weight
    else:
        shiftmax = normalizer == 'shiftmax'
        weight = torch.exp2(score - g[..., None]) if shiftmax else torch.exp(score - g[..., None])
        if not shiftmax or grad == 'ste':
            probability = weight / weight_sum[..., None] if shiftmax else weight
            grad_weight = grad_weight - (probability * grad_weight).sum(-1, keepdim=True)
        grad_score = weight * grad_weight * (LN2 if shiftmax else 1.0)
    grad_q = grad_score @ k.to(score.dtype) * scale
    grad_k = grad_score.transpose(-1, -2) @ q.to(score.dtype) * scale
    grad_v = weight.transpose(-1, -2) @ grad_out
    return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype)
