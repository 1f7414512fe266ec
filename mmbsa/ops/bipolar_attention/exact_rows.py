"""Compute g exactly for rows whose sum of powers is too close to a power of two for floating-point
arithmetic."""

import torch
from torch import Tensor

from mmbsa.ops.bipolar_attention.common import TILE
from mmbsa.ops.exact import ceil_log2_sum, gaps


def exact_normaliser(
    log2_sum: Tensor,
    slope: float,
    constant: float,
    q: Tensor,
    k: Tensor,
    product: str,
    scale: float,
) -> Tensor:
    """Return the exact g = ceil(L) for an approximate L with an error of at most
    ``slope * |L| + constant``.

    Args:
        log2_sum: L (B, H, n_q), float32 or float64.
        slope: factor on abs(L) in the bound of the error.
        constant: constant part of the bound; from 1/2 on, every row is computed exactly.
        q: queries (B, H, n_q, d); used for rows with L within the bound of an integer.
        k: keys (B, H, n_k, d).
        product: values of q and k, see :func:`mmbsa.ops.bipolar_attention`.
        scale: factor on the scores.

    Returns:
        g, with the shape and dtype of L.
    """
    g = log2_sum.ceil()
    centred = (log2_sum - g).add_(0.5).abs_()  # 1/2 minus the distance to the nearest integer
    near = centred.add_(log2_sum.abs(), alpha=slope) >= 0.5 - constant
    if bool(near.any()):
        _write_exact(q, k, scale, product, g, near)
    return g


def _write_exact(q: Tensor, k: Tensor, scale: float, product: str, g: Tensor, near: Tensor) -> None:
    """Write the exact g of the rows ``near`` (B, H, n_q) into ``g``, with about ``TILE`` scores in
    memory at a time.

    Rows of zero scores need no computation: sum_j 2^0 = n. Their cause is a query of zeros. If many
    sums are near a power of two, keys of zeros are tested too: k_j . q = 0 for all j exactly when
    (k^T k) q = 0, which costs O(n d^2) for all rows together.
    """
    n, d = k.shape[-2:]
    batch, head, row = near.nonzero().unbind(1)
    if len(row) * n * d <= TILE:  # few rows, the usual case: copy the keys for each row
        keys, rows = k[batch, head].to(g.dtype), q[batch, head, row].to(g.dtype)
        g[batch, head, row] = _exact_rows(torch.bmm(keys, rows[..., None])[..., 0], scale)
        return
    alive = q[batch, head, row].abs_().amax(-1) != 0
    if len(row) * 8 > near.numel() and n & (n - 1) == 0:
        # float32 if it holds (k^T k) q without rounding, otherwise float64
        whole = product != 'real' and n * d <= 1 << 24
        wide = g.dtype if whole else torch.float64
        keys = k.to(wide)
        alive &= (q.to(wide) @ (keys.transpose(-1, -2) @ keys)).abs_().amax(-1)[
            batch, head, row
        ] != 0
    g.masked_fill_(near, (n - 1).bit_length())
    if bool(alive.any()):
        batch, head, row = (x[alive] for x in (batch, head, row))
        g[batch, head, row] = _exact_g(
            q[batch, head, row].to(g.dtype), batch * k.size(1) + head, k, scale
        )


def _exact_g(rows: Tensor, head: Tensor, k: Tensor, scale: float) -> Tensor:
    """Return g of some queries, each computed with the keys of its own head.

    Args:
        rows: R queries (R, d), sorted by head.
        head: (R,) index of the head among all B * H.
        k: keys (B, H, n, d).
        scale: factor on the scores.

    Returns:
        g (R,) in the dtype of ``rows``.
    """
    n = k.size(-2)
    result = torch.empty_like(rows[:, 0])
    first = 0
    for index, count in zip(*(x.tolist() for x in head.unique_consecutive(return_counts=True))):
        keys = k[index // k.size(1), index % k.size(1)].to(rows.dtype).transpose(-1, -2)
        for start in range(first, first + count, max(1, TILE // n)):
            stop = min(start + max(1, TILE // n), first + count)
            result[start:stop] = _exact_rows(rows[start:stop] @ keys, scale)
        first += count
    return result


def _exact_rows(score: Tensor, scale: float) -> Tensor:
    top, gap = gaps(score if scale == 1.0 else score * scale)
    return (top + ceil_log2_sum(gap)).squeeze(-1)
