"""Formulas of our ops for ``torch.utils.flop_counter.FlopCounterMode``, which skips ops without a
formula.

Importing this file registers the formulas. It is a separate file because importing the counter
takes 0.1 s and imports triton.
"""

import math

import torch
from torch.utils.flop_counter import register_flop_formula

import mmbsa.ops  # noqa: F401  the ops must exist before formulas are tied to them


def attention_flops(q_shape, v_shape, normalizer: str, products: int) -> int:
    """Return the floating-point operations (two per multiply-add) of the matrix products in bipolar
    attention.

    A product has n_q n_k d or n_q n_k d_v multiply-adds; half of the products have d, the other
    half d_v. Without a normaliser the linear order is counted if it is cheaper. Weights that are
    powers of two are counted as multiply-adds: the result is the work of the dense algorithm, not
    of neuromorphic hardware.

    Args:
        q_shape: shape (..., n_q, d) of q.
        v_shape: shape (..., n_k, d_v) of v.
        normalizer: ``'shiftmax'``, ``'softmax'`` or ``'none'``.
        products: number of products.
    """
    *lead, n_q, d = q_shape
    n_k, d_v = v_shape[-2:]
    work = n_q * n_k * (d + d_v)
    if normalizer == 'none':
        work = min(work, (n_q + n_k) * d * d_v)
    return math.prod(lead) * work * products


@register_flop_formula(torch.ops.mmbsa.bipolar_attention)
def forward_flops(
    q_shape, k_shape, v_shape, product, normalizer, *args, out_shape=None, **kwargs
) -> int:
    """Return the operations of the forward: two products, the scores and the weighted sum of the
    values."""
    return attention_flops(q_shape, v_shape, normalizer, 2)


@register_flop_formula(torch.ops.mmbsa.bipolar_attention_bwd)
def backward_flops(
    grad_shape,
    q_shape,
    k_shape,
    v_shape,
    out_shape_,
    g_shape,
    weight_sum_shape,
    product,
    normalizer,
    *args,
    out_shape=None,
    **kwargs,
) -> int:
    """Return the operations of the backward: four products, twice the operations of the forward.

    Recomputed scores are not counted, as in torch.
    """
    return attention_flops(q_shape, v_shape, normalizer, 4)


@register_flop_formula(torch.ops.mmbsa.conv_weight_grad)
def weight_grad_flops(
    x_shape, grad_shape, kernel_size, stride, padding, groups, *args, out_shape=None, **kwargs
) -> int:
    """Return the operations of the weight gradient: two per weight and position, as for torch's
    convolutions."""
    return 2 * math.prod(grad_shape) * x_shape[1] // groups * math.prod(kernel_size)
