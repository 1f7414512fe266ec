"""g against Python's big integers, where a float logarithm cannot follow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import KINDS, make_row, oracle_g, score_rows

from mmbsa.ops.exact import MAX_ROW, ceil_log2_sum, ceil_log2_sum_of_integers, gaps, pow2


def exact_g(x):
    top, gap = gaps(x)
    return (top + ceil_log2_sum(gap)).squeeze(-1)


def test_pow2_is_exact():
    for dtype, low, high in ((torch.float32, -126, 127), (torch.float64, -1022, 1023)):
        exponent = torch.arange(low, high + 1)
        expected = [float.fromhex(f'0x1p{e}') for e in exponent.tolist()]
        assert pow2(exponent, dtype).double().tolist() == expected
        assert pow2(exponent.to(dtype), dtype).double().tolist() == expected


def test_exp2_of_integers_is_exact_here():
    """The weights are torch.exp2 of integers; subnormal powers of two included."""
    for dtype, low in ((torch.float32, -149), (torch.float64, -1074)):
        exponent = torch.arange(low - 20, 1, dtype=dtype)
        assert torch.exp2(exponent).double().tolist() == [
            2.0**e if e >= low else 0.0 for e in exponent.tolist()
        ]


def test_rows_longer_than_the_limit_are_refused():
    with pytest.raises(ValueError, match='16777216'):
        gaps(torch.zeros(1).expand((1 << 24) + 1))


@settings(max_examples=150, deadline=None)
@given(score_rows())
def test_scores_of_attention(case):
    row, _ = case
    for dtype in (torch.float32, torch.float64, torch.int64):
        assert exact_g(torch.tensor([row], dtype=dtype)).item() == oracle_g(row)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-6000, 6000), min_size=1, max_size=60),
    st.integers(0, 40),
    st.integers(-1, 1),
)
def test_any_integers(row, repeat, nudge):
    """Wide gaps, many windows; halves of halves that carry through all of them."""
    low = min(row)
    row = row + [low - 1 - i for i in range(repeat)] + [low - repeat + nudge]
    expected = oracle_g(row)
    for dtype in (torch.float32, torch.float64, torch.int32):
        assert exact_g(torch.tensor(row, dtype=dtype)).item() == expected


@pytest.mark.parametrize('n', [2, 40, 63, 500, 4096])
def test_carry_runs_through_every_window(n):
    """1/2 + 1/4 + ... + 2^-(n-1) + 2^-(n-1) = 1: one bit decides, n bits below the top."""
    chain = -torch.arange(1.0, n)
    for last, expected in ((-(n - 1.0), 0), (-float(n), 0), (-(n - 2.0), 1)):
        row = torch.cat([chain, torch.tensor([last])])
        assert exact_g(row).item() == oracle_g(row.tolist()) == expected
        row = torch.cat([torch.zeros(1), row])
        assert exact_g(row).item() == oracle_g(row.tolist()) == 1 + expected


@pytest.mark.parametrize('a', [0, 3, 7, 12])
def test_one_bit_at_every_distance(a):
    """2^a + 2^-b and 2^a - 2^-b.

    past the 24 bits of a float32, the 53 of a float64, and every window's end.
    """
    for b in range(1, 130):
        above = torch.zeros((1 << a) + 1)
        above[-1] = -b
        below = torch.cat([torch.zeros((1 << a) - 1), -torch.arange(1.0, b + 1)])
        for row in (
            above,
            below,
            torch.cat([below, below[-1:]]),
            torch.cat([below, below[-1:], below[-1:]]),
        ):
            assert exact_g(row).item() == oracle_g(row.tolist())


def test_far_below_is_sticky_not_lost():
    for far in (60, 150, 1100, 10**6, 10**9, 1 << 40):
        row = torch.tensor([0, 0, -far], dtype=torch.int64)
        assert exact_g(row).item() == 2
        assert exact_g(row.double()).item() == 2
    assert exact_g(torch.tensor([0, 0])).item() == 1


def test_extreme_integers_do_not_wrap_around():
    low, high = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    _, gap = gaps(torch.tensor([low, high - 7, low + 1]))
    assert ceil_log2_sum(gap).item() == 1
    top, gap = gaps(torch.tensor([low, low]))
    assert (top.item(), ceil_log2_sum(gap).item()) == (low, 1)
    assert exact_g(torch.tensor([1e30, 1e30, -1e30, 3.0])).item() == np.float32(1e30)
    assert ceil_log2_sum(gaps(torch.tensor([1e30, 1e30, -1e30, 3.0]))[1]).item() == 2


def test_rows_of_one_batch_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    rows = [make_row(kind, 64, 120, rng) for kind in KINDS for _ in range(8)]
    width = max(map(len, rows))
    batch = torch.tensor(
        [row + [-(10**6)] * (width - len(row)) for row in rows], dtype=torch.float32
    )
    assert exact_g(batch).tolist() == [oracle_g(row) for row in batch.tolist()]
    mixed = torch.cat([batch, batch + 0.3])  # real rows beside integer ones
    assert exact_g(mixed)[: len(batch)].tolist() == exact_g(batch).tolist()


def test_real_scores():
    x = torch.randn(50, 33, dtype=torch.float64) * 5
    assert torch.equal(exact_g(x), torch.exp2(x).sum(-1).log2().ceil())
    tiny = torch.tensor([[2.0**-30] * 4])  # 4 * 2^(2^-30) is above 4, and not by a power of two
    assert exact_g(tiny).item() == 3


def test_masked_and_bad_scores():
    inf = torch.inf
    assert exact_g(torch.tensor([0.0, -inf, 0.0])).item() == 1
    assert exact_g(torch.tensor([0.5, -inf])).item() == 1
    bad = torch.tensor([[-inf, -inf], [torch.nan, 0.0], [inf, 0.0]])
    assert exact_g(bad).isnan().all()


def test_length_limits():
    for n in (0, MAX_ROW + 1):
        with pytest.raises(ValueError, match='a row of scores must hold 1 to'):
            gaps(torch.zeros(1).expand(n))
    assert ceil_log2_sum_of_integers(torch.zeros(1 << 20)).item() == 20
