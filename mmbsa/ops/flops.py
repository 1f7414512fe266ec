"""Formulas for ``torch.utils.flop_counter.FlopCounterMode``, which skips ops it does not know.

Importing the file registers them. It is a file of its own because importing that counter costs 0.1
s and takes triton along.
"""

import math

import torch
from torch.utils.flop_counter import register_flop_formula

import mmbsa.ops  # noqa: F401  the ops must exist before formulas are tied to them


def attention_flops(q_shape, v_shape, normalizer: str, products: int) -> int:
    """Multiply-adds, doubled, of ``products`` matrix products of n_q x n_k by d or d_v (half each).

    Without a normaliser the linear order is counted where it is cheaper. The power-of-two weights
    are counted as multiply-adds like any other: this is the work of the dense algorithm, not of
    neuromorphic hardware.
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
    """Two products: scores, and the sum of the values."""
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
    """Four products, or six thirds of a forward in the linear order.

    Recomputed scores are not counted, as in torch.
    """
    return attention_flops(q_shape, v_shape, normalizer, 4)


@register_flop_formula(torch.ops.mmbsa.conv_weight_grad)
def weight_grad_flops(
    x_shape, grad_shape, kernel_size, stride, padding, groups, *args, out_shape=None, **kwargs
) -> int:
    """One multiply-add, doubled, per weight and position, as in torch's own convolutions."""
    return 2 * math.prod(grad_shape) * x_shape[1] // groups * math.prod(kernel_size)
