"""Bipolar attention in O(n) memory, in plain torch: a tile of scores at a time, on any device.

For spikes a weight is 2^x of a small integer: exact, and in no need of the row's maximum. So a tile costs two matrix
products and one exponential, no other pass over the scores. What would be further passes rides along as one more column
of an operand:

    forward    weight = 2^(q k^T)                           [out | sum] = weight [v | 1]
    backward   weight = 2^([q | -g] [k | 1]^T)              dscore = weight * ([dout | -delta] [v | 1]^T)

PyTorch's attention kernels do the same with every pass in a register, and win where d = d_v. They want equal widths,
though, and padding q and k to the four times wider values of Spike-driven Transformer V3 costs more than the passes.
"""
import torch
from torch import Tensor
from torch.nn.functional import pad

from mmbsa.ops.bipolar_attention.common import LN2, TILE, unnormalised, unnormalised_backward
from mmbsa.ops.bipolar_attention.edge import normaliser
from mmbsa.ops.exact import MAX_ROW
from mmbsa.ops.registration import working_dtype

#: 2^-64 to 2^64 times n values of any sane size neither overflow nor vanish in float32.
SMALL = 64.


def refuses(q: Tensor, k: Tensor, v: Tensor, normalizer: str, product: str, scale: float) -> str | None:
    """Why a call cannot be taken, or None."""
    if normalizer == 'shiftmax' and k.size(-2) > MAX_ROW:
        return f'g is exact for at most {MAX_ROW} keys, got {k.size(-2)}'
    return None


def forward(q: Tensor, k: Tensor, v: Tensor, product: str, normalizer: str, scale: float):
    """See ``common``."""
    dtype = working_dtype(v.dtype)
    empty = v.new_empty(0, dtype=dtype)
    if normalizer == 'none':
        return unnormalised(q, k, v, scale), empty, empty.clone()
    base2 = scale if normalizer == 'shiftmax' else scale / LN2
    queries, keys = _heads(q, dtype, base2), _heads(k, dtype)
    largest = float(queries.abs().sum(-1).amax() * keys.abs().amax())  # bounds every |score|
    total, top = _accumulate(queries, keys.mT, _with_column(_heads(v, dtype), 1.), largest <= SMALL)
    total = total.view(*q.shape[:-1], -1)
    mass = total[..., -1]
    log2_sum = mass.log2() if top is None else mass.log2() + (top := top.view(mass.shape))
    if normalizer == 'softmax':
        return (total[..., :-1] / mass[..., None]).to(v.dtype), log2_sum * LN2, empty
    error = _error(q.size(-1), k.size(-2), 0. if scale == 1. else largest, dtype)
    g = normaliser(log2_sum, *error, q, k, product, scale)
    shift = torch.exp2((0. if top is None else top) - g)
    return (total[..., :-1] * shift[..., None]).to(v.dtype), g, (mass * shift).clamp_(0.5, 1.)


def backward(grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, g: Tensor, mass: Tensor, product: str,
             normalizer: str, scale: float, grad: str):
    """See ``common``. dscore_j = weight_j (dweight_j - delta), delta = sum_i p_i dweight_i = dout . out / mass or 0."""
    if normalizer == 'none':
        return unnormalised_backward(grad_out, q, k, v, scale)
    dtype = g.dtype
    base2, log2_sum = (scale, g) if normalizer == 'shiftmax' else (scale / LN2, g / LN2)
    upstream = _heads(grad_out, dtype)
    if normalizer == 'shiftmax' and grad == 'detach':
        delta = torch.zeros_like(upstream[..., :1])
    else:
        delta = (upstream * _heads(out, dtype)).sum(-1, keepdim=True)
        if normalizer == 'shiftmax':
            delta /= mass.flatten(0, 1)[..., None]
    queries = torch.cat([_heads(q, dtype, base2), -log2_sum.flatten(0, 1)[..., None]], -1)
    keys, values = (_with_column(_heads(x, dtype), 1.) for x in (k, v))
    grad_q, grad_k, grad_v = _accumulate_grads(torch.cat([upstream, -delta], -1), queries, keys, values)
    # The tiles have seen base2 * q, and powers of two: d/dq of 2^(base2 q k^T) is ln2 base2 2^(...) k.
    return ((grad_q[..., :-1] * (LN2 * base2)).to(q.dtype).view(q.shape),
            (grad_k[..., :-1] * LN2).to(k.dtype).view(k.shape), grad_v.to(v.dtype).view(v.shape))


def _error(d: int, n: int, scaled: float, dtype: torch.dtype) -> tuple[float, float]:
    """(slope, constant): L of this file errs by at most slope * |L| + constant.

    With u the unit roundoff, and x whole numbers, relative errors of sum_j 2^x_j are: 2u of a power, n u of the sum in
    any order; if the scores are scaled, the scale is rounded into q and the products are no longer exact: (d + 2) u
    times the bound ``scaled`` of |x|, times ln2. log2 and adding the top round by 2u |L|. In log2 that is u (1.45 (n +
    2) + 2 |L| + (d + 2) scaled), of which twice as much is allowed, for the higher orders.
    """
    unit = torch.finfo(dtype).eps  # twice the roundoff
    return 2 * unit, unit * (1.45 * (n + 2) + (d + 2) * scaled)


def _heads(x: Tensor, dtype: torch.dtype, factor: float = 1.) -> Tensor:
    """(B, H, n, d) -> (B * H, n, d) in ``dtype``, times ``factor``."""
    x = x.flatten(0, 1).to(dtype)
    return x if factor == 1. else x * factor


def _with_column(x: Tensor, value: float) -> Tensor:
    return pad(x, (0, 1), value=value)


def _tiles(heads: int, n_q: int, n_k: int, tile: int):
    """Slices (of heads, of queries) whose maps hold at most ``tile`` scores, or one query's."""
    rows = min(n_q, max(1, tile // n_k))
    rows = -(-n_q // -(-n_q // rows))  # as many tiles, of like size
    step = max(1, tile // (rows * n_k))
    for head in range(0, heads, step):
        for row in range(0, n_q, rows):
            yield slice(head, min(head + step, heads)), slice(row, min(row + rows, n_q))


def _accumulate(q: Tensor, k_t: Tensor, values: Tensor, small: bool) -> tuple[Tensor, Tensor | None]:
    """sum_j 2^(x_j - top) values_j per query, and top: floor of the row's largest score, or None for 0 everywhere."""
    (heads, n_q, _), n_k = q.shape, k_t.size(-1)
    total = values.new_empty(heads, n_q, values.size(-1))
    tops = None if small else values.new_empty(heads, n_q, 1)
    scores = None
    for head, row in _tiles(heads, n_q, n_k, TILE):
        queries = q[head, row]
        scores, weight = _buffer(scores, queries, n_k)
        torch.bmm(queries, k_t[head], out=weight)
        if tops is not None:
            top = weight.amax(-1, keepdim=True).floor_()
            weight -= top
            tops[head, row] = top
        total[head, row] = torch.bmm(weight.exp2_(), values[head])
    return total, tops


def _accumulate_grads(upstream: Tensor, q: Tensor, k: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for operands with their extra columns; that of ``values`` without."""
    (heads, n_q, _), n_k, d_v = q.shape, k.size(1), values.size(-1) - 1
    grad_q = torch.empty_like(q)
    grad_k, grad_v = torch.zeros_like(k), k.new_zeros(heads, n_k, d_v)
    scores = grads = None
    for head, row in _tiles(heads, n_q, n_k, TILE // 2):
        queries, above = q[head, row], upstream[head, row]
        scores, weight = _buffer(scores, queries, n_k)
        grads, grad_weight = _buffer(grads, queries, n_k)
        torch.bmm(queries, k[head].mT, out=weight)
        weight.exp2_()
        grad_v[head].baddbmm_(weight.mT, above[..., :-1])
        torch.bmm(above, values[head].mT, out=grad_weight)
        grad_weight *= weight
        grad_q[head, row] = torch.bmm(grad_weight, k[head])
        grad_k[head].baddbmm_(grad_weight.mT, queries)
    return grad_q, grad_k, grad_v


def _buffer(memory: Tensor | None, queries: Tensor, n_k: int) -> tuple[Tensor, Tensor]:
    """The memory of a tile (allocated by the first, which is the largest), and the part that this tile needs."""
    heads, rows, _ = queries.shape
    if memory is None:
        memory = queries.new_empty(heads * rows * n_k)
    return memory, memory[:heads * rows * n_k].view(heads, rows, n_k)
