"""Bipolar attention of spikes in C++ on the CPU.

Scores are sums of bytes, weights are bits, see ``native.cpp``.
"""

from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.exact import MAX_ROW
from mmbsa.ops.native import Library

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
#: Scores of wider heads would not fit 16 bits.
MAX_WIDTH = 1 << 14
TYPES = (torch.float32, torch.bfloat16, torch.int8)  # as the kernels number them


def refuses(
    q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float
) -> str | None:
    """Why a call cannot be taken, or None."""
    if v.device.type != 'cpu':
        return f'the kernels run on the CPU, not on {v.device.type}'
    if v.dtype not in (torch.float32, torch.bfloat16):
        return f'the kernels take float32 and bfloat16, not {v.dtype}'
    if normalizer != 'shiftmax':
        return f"the kernels know no normalizer but 'shiftmax', got {normalizer!r}"
    if product == 'real' or scale != 1:
        return (
            f'the kernels count spikes: ternary or binary products and a scale of 1, '
            f'not {product!r} and {scale}'
        )
    if k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    if q.size(-1) > MAX_WIDTH:
        return f'the kernels take q and k of at most {MAX_WIDTH} channels, got {q.size(-1)}'
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
    """See ``common``; q and k in v's dtype or as bytes."""
    LIBRARY.call('bipolar_forward', *_operands(q, k, v), out, g, weight_sum, *_sizes(q, v))


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
    """See ``common``.

    q and k come in v's dtype or as bytes, and gradients lie in memory as their operands do.
    """
    grads = [torch.empty_like(x, dtype=v.dtype) for x in (q, k, v)]
    LIBRARY.call(
        'bipolar_backward',
        *_operands(grad_out, q, k, v, out),
        g,
        weight_sum,
        grad == 'ste',
        *_operands(*grads),
        *_sizes(q, v),
    )
    return tuple(grads)


def _operands(*tensors: Tensor) -> list:
    return [part for x in tensors for part in (x, *x.stride(), TYPES.index(x.dtype))]


def _sizes(q: Tensor, v: Tensor) -> tuple[int, ...]:
    return *q.shape[:-1], v.size(-2), q.size(-1), v.size(-1)
