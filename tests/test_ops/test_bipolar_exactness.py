"""g of bipolar attention is what Python's big integers give, in every implementation usable
here."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import (
    KINDS,
    attention_stats,
    make_row,
    operands,
    oracle_g,
    refuses,
    score_rows,
    spikes,
)

from mmbsa.ops import implementations
from mmbsa.ops.bipolar_attention import exact_rows, sdpa

IMPLS = [
    name for name in implementations('bipolar_attention') if name != 'triton'
]  # test_bipolar_triton.py
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def check_rows(rows_by_query, q, k, impl, dtype, product='ternary', scale=1.0):
    v = torch.ones(*k.shape[:-1], 2, dtype=dtype)
    out, g, weight_sum = attention_stats(q, k, v, impl, product, scale=scale)
    assert g.flatten().tolist() == [oracle_g(row) for row in rows_by_query]
    assert ((weight_sum >= 0.5) & (weight_sum <= 1)).all()
    tolerance = 4 * torch.finfo(dtype).eps + 1e-4
    torch.testing.assert_close(out[..., 0].double(), weight_sum.double(), rtol=tolerance, atol=0)


@pytest.mark.parametrize('dtype', DTYPES, ids=lambda d: str(d).split('.')[1])
@pytest.mark.parametrize('impl', IMPLS)
@settings(max_examples=60, deadline=None)
@given(case=score_rows())
def test_edge_rows(impl, dtype, case):
    if refuses(impl, dtype):
        return
    row, d = case
    q, k = operands(row, d, dtype)
    check_rows([row, [0] * len(row), [-x for x in row]], q, k, impl, dtype)


@pytest.mark.parametrize('impl', IMPLS)
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 700),
    st.integers(1, 64),
    st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]),
    st.integers(0, 10**6),
    st.sampled_from(['ternary', 'binary']),
)
def test_many_heads_of_spikes(impl, n, d, rate, seed, product):
    """Dead, sparse and dense firing; nearly dead heads are where most rows sit on the edge."""
    q, k = (spikes((3, 9, d), rate, product, seed), spikes((3, n, d), rate, product, seed + 1))
    rows = (q.double() @ k.double().mT).flatten(0, 1).tolist()
    check_rows(rows, q, k, impl, torch.float32, product)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('n', [64, 256, 1024])
def test_silent_queries_and_silent_keys(impl, n):
    """The rows naive code halves: all weights must be exactly 1 / n."""
    v = torch.eye(n)
    for q, k in ((torch.zeros(n, 8), spikes((n, 8))), (spikes((n, 8)), torch.zeros(n, 8))):
        out, g, weight_sum = attention_stats(q, k, v, impl)
        assert g.unique().tolist() == [n.bit_length() - 1]
        assert weight_sum.unique().tolist() == [1.0]
        torch.testing.assert_close(out, torch.full_like(out, 1 / n), rtol=1e-6, atol=0)


@pytest.mark.parametrize('impl', IMPLS)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    st.integers(1, 300),
    st.integers(1, 256),
    st.integers(0, 10**6),
)
def test_edge_rows_in_different_heads(impl, kinds, n, d, seed):
    """Each head has its own keys, its own number of edge rows, and rows that are none."""
    rng = np.random.default_rng(seed)
    heads, rows = [], []
    for kind in kinds:
        row = make_row(kind, n, d, rng)
        row += [-d] * (n - len(row))
        q, k = operands(row, d)
        order = torch.as_tensor(rng.permutation(3))
        heads.append((q[order], k))
        rows += [[(row, [0] * n, [-x for x in row])[i]] for i in order.tolist()]
    q, k = (torch.stack(x) for x in zip(*heads))
    check_rows([row for (row,) in rows], q, k, impl, torch.float32)


@pytest.mark.parametrize('impl', IMPLS)
@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 48),
    st.integers(1, 16),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 0.5, 2.0]),
)
def test_whole_numbers_of_real_operands(impl, n, d, levels, seed, scale):
    """Integer neurons.

    scores in the thousands, windows far apart; a scale that keeps them whole.
    """
    if refuses(impl, torch.float32, 'shiftmax', 'real', scale):
        return
    generator = torch.Generator().manual_seed(seed)
    q, k = (
        2 * torch.randint(-levels, levels + 1, (rows, d), generator=generator).float()
        for rows in (5, n)
    )
    rows = (q.double() @ k.double().mT * scale).tolist()
    check_rows(rows, q, k, impl, torch.float32, 'real', scale)


@pytest.mark.parametrize('impl', IMPLS)
def test_rows_longer_than_a_tile(impl):
    """Every row on the edge, in more scores than are settled at once."""
    n = 2048
    k = torch.ones(1, n, 4)
    q = torch.ones(3, 700, 4)
    q[1] = -1
    q[2, ::2] = 0
    out, g, _ = attention_stats(q, k.expand(3, n, 4), torch.ones(3, n, 1), impl)
    expected = q.sum(-1) + 11
    assert torch.equal(g, expected)
    torch.testing.assert_close(out[..., 0], torch.ones(3, 700), rtol=1e-6, atol=0)
    mixed = k.expand(3, n, 4).clone()
    mixed[:, 5] = -1
    _, g, _ = attention_stats(q, mixed, torch.ones(3, n, 1), impl)
    assert torch.equal(g, torch.where(q.sum(-1) < 0, 12 + q.sum(-1) + 0 * g, expected))


def clear_rows(log2_sum, slope, constant):
    """Rows whose L is farther from every integer than its error."""
    return (log2_sum - log2_sum.round()).abs() > slope * log2_sum.abs() + constant


@settings(max_examples=60, deadline=None)
@given(score_rows(), st.sampled_from(DTYPES))
def test_bound_of_the_float_error(case, dtype):
    """L of PyTorch's kernels against float64, and against big integers where no settling is
    done."""
    row, d = case
    q, k = operands(row, d, dtype)
    rows = [row, [0] * len(row), [-x for x in row]]
    _, lse = sdpa._attend(*(x[None, None] for x in (q, k, k)), sdpa.LN2)
    log2_sum = lse.flatten() / sdpa.LN2
    truth = torch.logsumexp(torch.tensor(rows).double() * sdpa.LN2, -1) / sdpa.LN2
    slope, constant = sdpa._error(len(row), dtype)
    assert ((log2_sum - truth).abs() <= slope * truth.abs() + constant + 1e-12).all()
    clear = clear_rows(log2_sum, slope, constant)
    assert torch.equal(
        log2_sum.ceil()[clear].double(), torch.tensor([oracle_g(r) for r in rows]).double()[clear]
    )


def test_bound_of_the_float_error_is_the_documented_one():
    """u (6 |L| + 6 log2 n + 58 + 1.81 n), twice, where u is the roundoff of the accumulator."""
    for dtype, eps, room in (
        (torch.float64, 2.0**-52, 0.0),
        (torch.float32, 2.0**-23, 0.0),
        (torch.bfloat16, 2.0**-23, 2.0**-11),
    ):
        for n in (1, 64, 4096):
            slope, constant = sdpa._error(n, dtype)
            assert slope == pytest.approx(6 * eps, rel=1e-12)
            expected = eps * (6 * math.log2(n) + 58 + 1.81 * n) + room
            assert constant == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('n', [48, 64])
def test_rows_near_an_integer_are_exact_whatever_their_estimate(n, monkeypatch):
    """Dead and working queries, for few rows and for many; a wrong estimate is replaced."""
    q, k = (spikes((2, 2, n, 8), 0.4, seed=seed) for seed in (0, 1))
    q[:, 0, ::2] = 0
    k[0, 1] = 0  # the keys of a head are silent: (k^T k) q = 0
    scores = (q @ k.transpose(-1, -2)).to(torch.int64)
    expected = torch.tensor(
        [oracle_g(row) for row in scores.flatten(0, -2).tolist()], dtype=torch.float32
    ).view(2, 2, n)
    for tile in (1, 1 << 24):
        monkeypatch.setattr(exact_rows, 'TILE', tile)
        wrong = torch.full_like(expected, -7.0)
        found = exact_rows.exact_normaliser(wrong, 0.0, 0.5, q, k, 'binary', 1.0)
        assert torch.equal(found, expected)


def test_band_of_the_float_error_is_narrow():
    """Few rows of working spikes are settled, none of a dead head whose n is no power of two."""
    for n, expected in ((1024, 0.01), (1000, 0.01), (196, 0.005)):
        q, k = (spikes((4, 2, n, 32), 0.2, seed=seed) for seed in (0, 1))
        error = sdpa._error(n, torch.float32)
        _, lse = sdpa._attend(q, k, k, sdpa.LN2)
        silent = q.abs().amax(-1) == 0
        assert (~clear_rows(lse / sdpa.LN2, *error) & ~silent).float().mean() < expected
    _, lse = sdpa._attend(torch.zeros_like(q), k, k, sdpa.LN2)
    assert clear_rows(lse / sdpa.LN2, *error).all()
