"""Bipolar attention of spikes in C++ on the CPU.

Scores are sums of bytes and weights are written as bits, see ``native.cpp``.
"""

from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.exact import MAX_ROW
from mmbsa.ops.native import Library

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
#: Largest number of channels per head: with more, scores do not fit into 16 bits.
MAX_WIDTH = 1 << 14
TYPES = (torch.float32, torch.bfloat16, torch.int8)  # in the order of the kernels' numbers


def refuses(
    q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float
) -> str | None:
    """Return the reason why the kernels do not support a call, or None if they do."""
    if v.device.type != 'cpu':
        return f'the kernels run on the CPU, not on {v.device.type}'
    if v.dtype not in (torch.float32, torch.bfloat16):
        return f'the kernels support float32 and bfloat16, not {v.dtype}'
    if normalizer != 'shiftmax':
        return f"the kernels support only normalizer='shiftmax', not {normalizer!r}"
    if product == 'real' or scale != 1:
        return (
            f'the kernels count spikes: ternary or binary products and a scale of 1, '
            f'not {product!r} and {scale}'
        )
    if k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    if q.size(-1) > MAX_WIDTH:
        return f'the kernels support q and k of at most {MAX_WIDTH} channels, got {q.size(-1)}'
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
    """Compute the forward in C++; arguments as in ``common``, with q and k in the dtype of v or as
    bytes."""
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
    """Compute the backward in C++; arguments as in ``common``.

    q and k are in the dtype of v or bytes. Each gradient has the memory layout of its operand.
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
