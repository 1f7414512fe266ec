"""Shiftmax: closed forms, exact weights, gradient rules, registration."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from score_rows import oracle_g, score_rows
from torch.autograd import gradcheck

from mmbsa.ops import implementations, shiftmax

LN2 = math.log(2.0)
IMPLS = implementations('shiftmax')


@pytest.mark.parametrize('impl', IMPLS)
def test_closed_forms(impl):
    rows = {
        (0.0, 0.0, 0.0, 0.0): [0.25] * 4,  # sum 4 = 2^2: g is 2, not 3
        (0.0, 0.0, 0.0): [0.25] * 3,  # sum 3: g = 2
        (5.0,): [1.0],
        (3.0, 1.0, 1.0): [0.5, 0.125, 0.125],  # 8 + 2 + 2 = 12 -> 16
        (3.0, 2.0, 1.0, 1.0): [0.5, 0.25, 0.125, 0.125],
        (0.0, 0.0, -30.0): [0.25, 0.25, 2.0**-32],  # 2 + 2^-30 needs 4
    }
    for row, weights in rows.items():
        assert shiftmax(torch.tensor(row), impl=impl).tolist() == weights


@pytest.mark.parametrize('impl', IMPLS)
@settings(max_examples=80, deadline=None)
@given(case=score_rows(max_n=1024))
def test_weights_are_the_exact_powers(impl, case):
    row, _ = case
    g = oracle_g(row)
    for dtype, smallest in ((torch.float32, -149), (torch.float64, -1074), (torch.int64, -149)):
        weights = shiftmax(torch.tensor(row, dtype=dtype), impl=impl)
        assert weights.double().tolist() == [
            2.0 ** (x - g) if x - g >= smallest else 0.0 for x in row
        ]
        if dtype == torch.float64:  # holds them all: eq. 14, in fractions
            assert Fraction(1, 2) < sum(map(Fraction, weights.tolist())) <= 1


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    'shape, dim', [((63,), 0), ((5, 500), -1), ((3, 7, 11), 1), ((1, 1), -1), ((4, 9), -2)]
)
def test_any_dim_and_dtype(impl, dtype, shape, dim):
    x = torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    weights = shiftmax(x, dim, impl=impl)
    assert weights.dtype == dtype and weights.shape == x.shape
    expected = shiftmax(x.double().movedim(dim, -1).contiguous(), impl='reference').movedim(-1, dim)
    assert torch.equal(weights, expected.to(dtype))
    swapped = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(shiftmax(swapped, dim, impl=impl), weights)


@pytest.mark.parametrize('impl', IMPLS)
def test_real_and_masked_scores(impl):
    x = torch.randn(20, 30, dtype=torch.float64) * 4
    total = torch.exp2(x).sum(-1, keepdim=True)
    torch.testing.assert_close(
        shiftmax(x, impl=impl), torch.exp2(x - total.log2().ceil()), rtol=1e-14, atol=0
    )
    masked = shiftmax(torch.tensor([1.0, -torch.inf, 1.0]), impl=impl)
    assert masked.tolist() == [0.5, 0.0, 0.5]
    assert shiftmax(torch.tensor([-torch.inf, -torch.inf]), impl=impl).isnan().all()


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('grad', ['ste', 'detach'])
def test_gradient_is_that_of_the_surrogate(impl, grad):
    """Finite differences of softmax_2 * const ('ste') and of 2^(x - const) ('detach') at the same
    point.
    """
    x = torch.randn(3, 11, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        weights = shiftmax(x, impl=impl)
        constant = (
            weights.sum(-1, keepdim=True) if grad == 'ste' else torch.log2(torch.exp2(x) / weights)
        )

    def surrogate(y):
        return torch.softmax(LN2 * y, -1) * constant if grad == 'ste' else torch.exp2(y - constant)

    torch.testing.assert_close(surrogate(x), weights, rtol=1e-13, atol=0)
    assert gradcheck(surrogate, x)
    upstream = torch.randn_like(x)
    (expected,) = torch.autograd.grad(surrogate(x), x, upstream)
    (found,) = torch.autograd.grad(shiftmax(x, grad=grad, impl=impl), x, upstream)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_double_backward_raises():
    x = torch.randn(4, requires_grad=True)
    (first,) = torch.autograd.grad(shiftmax(x).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match='double backward'):
        first.sum().backward()


def test_shiftmax_is_registered():
    for x in (
        torch.randn(3, 5, requires_grad=True),
        torch.randn(3, 5, 2).double(),
        torch.ones(4, dtype=torch.int32),
    ):
        torch.library.opcheck(torch.ops.mmbsa.shiftmax.default, (x, -1, 'ste', 'reference'))
    pair = torch.randn(3, 5), shiftmax(torch.randn(3, 5))
    torch.library.opcheck(torch.ops.mmbsa.shiftmax_bwd.default, (*pair, 1, 'detach', 'reference'))
    compiled = torch.compile(
        lambda x: shiftmax(x * 2, 0, grad='detach'), backend='aot_eager', fullgraph=True
    )
    x = torch.randn(4, 3, requires_grad=True)
    torch.testing.assert_close(compiled(x), shiftmax(x * 2, 0))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(x=torch.ones(2, dtype=torch.bool)), 'floating or integer'),
        (dict(x=torch.ones(2, dtype=torch.complex64)), 'floating or integer'),
        (dict(x=torch.ones(2), dim=1), 'dim 1 is out of range'),
        (dict(x=torch.ones(2, 0)), 'dimension -1 of x is empty'),
        (dict(x=torch.ones(2), grad='none'), 'grad must be one of'),
        (dict(x=torch.ones(2), impl='sdpa'), "impl must be one of .*'reference'"),
    ],
)
def test_errors_name_the_argument(kwargs, message):
    with pytest.raises(ValueError, match=message):
        shiftmax(**kwargs)
