"""Rows of integer scores on Shiftmax's edge, the operands that produce them, and g by Python's big
integers.
"""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from mmbsa.ops import bipolar_attention, dispatch


def oracle_g(row) -> int:
    """ceil(log2 sum_j 2^x_j), in exact integers of any size."""
    row = [int(x) for x in row]
    low = min(row)
    counts = {}
    for x in row:
        counts[x - low] = counts.get(x - low, 0) + 1
    total = sum(count << shift for shift, count in counts.items())
    return low + (total - 1).bit_length()


def split_power(top: int, low: int, pieces: int, rng) -> list[int]:
    """``pieces`` exponents >= low (fewer if impossible) whose powers of two add up to 2^top
    exactly.
    """
    row = [top]
    while len(row) < pieces:
        open_ends = [i for i, x in enumerate(row[-64:], max(0, len(row) - 64)) if x > low]
        if not open_ends:
            break
        i = open_ends[rng.integers(len(open_ends))]
        row[i] -= 1
        row.append(row[i])
    return row


def make_row(kind: str, n: int, d: int, rng) -> list[int]:
    """One row of at most n scores in [-d, d].

    The kinds are those whose float logarithms go wrong.
    """
    if kind == 'silent':  # over 2^k tokens the sum is 2^k
        return [0] * (1 << int(np.log2(n)))
    if kind == 'equal':
        return [int(rng.integers(-d, d + 1))] * n
    if kind == 'one_hot':
        return [d] + [-d] * (n - 1)
    if kind == 'random':
        return rng.integers(-d, d + 1, n).tolist()
    if kind == 'narrow':  # few distinct values near zero: sums hit powers of two by chance
        return rng.integers(-1, 2, n).tolist()
    row = split_power(int(rng.integers(-d, d + 1)), -d, max(1, n - 1), rng)
    if kind == 'above_power' and n > 1:  # 2^a + 2^-b, b up to 2d below a
        return row + [-d]
    if kind == 'below_power' and len(row) > 1:  # 2^a - 2^-b
        row.remove(min(row))
    return row  # kind 'power': 2^a


KINDS = ('silent', 'equal', 'one_hot', 'random', 'narrow', 'above_power', 'below_power', 'power')


@st.composite
def score_rows(draw, max_n: int = 4096, max_d: int = 256):
    """(scores of one row, d) with n up to ``max_n`` and all scores in [-d, d]."""
    n = draw(
        st.one_of(
            st.integers(1, max_n), st.sampled_from([1 << k for k in range(13) if 1 << k <= max_n])
        )
    )
    d = draw(st.integers(1, max_d))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row = make_row(draw(st.sampled_from(KINDS)), n, d, rng)
    rng.shuffle(row)
    return row, d


def operands(row, d: int, dtype: torch.dtype = torch.float32):
    """Ternary q (3, d) and k (n, d) with q k^T = (row, 0, -row).

    the row, a silent query, and the mirrored row.
    """
    row = torch.as_tensor(row)
    k = (torch.arange(d) < row.abs()[:, None]) * row.sign()[:, None]
    q = torch.stack([torch.ones(d), torch.zeros(d), -torch.ones(d)])
    return q.to(dtype), k.to(dtype)


def attention_stats(
    q, k, v, impl: str, product: str = 'ternary', normalizer: str = 'shiftmax', scale: float = 1.0
):
    """(out, g, weight_sum) of the registered op."""
    return torch.ops.mmbsa.bipolar_attention(q, k, v, product, normalizer, scale, 'ste', impl)


def spikes(
    shape,
    rate: float = 0.3,
    product: str = 'ternary',
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
):
    """Spikes that fire at ``rate``; standard normal numbers for ``'real'``."""
    generator = torch.Generator().manual_seed(seed)
    if product == 'real':
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    fired = torch.rand(shape, generator=generator) < rate
    sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1 if product == 'ternary' else 1
    return (fired * sign).to(dtype)


def refuses(
    impl: str,
    dtype: torch.dtype = torch.float32,
    normalizer: str = 'shiftmax',
    product: str = 'ternary',
    scale: float = 1.0,
    device: str = 'cpu',
) -> bool:
    """Whether an implementation leaves such calls to the others, and says so."""
    operands = [torch.zeros(1, 1, 2, 2, dtype=dtype, device=device)] * 3
    reason = dispatch.get('bipolar_attention', impl).refuses(*operands, normalizer, product, scale)
    if reason:
        with pytest.raises(RuntimeError, match=f"impl='{impl}' does not support this call: "):
            bipolar_attention(
                *operands, normalizer=normalizer, product=product, scale=scale, impl=impl
            )
    return bool(reason)
