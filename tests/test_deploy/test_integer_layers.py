from fractions import Fraction

import numpy as np
import pytest
import torch

from mmbsa.deploy.integer import Rules, layers
from mmbsa.deploy.integer.fixed import as_ratio, bits_of, check_width, quantize_weight, shift
from mmbsa.ops import bipolar_attention
from mmbsa.ops import lif as fused_lif


def draw(low, high, *shape, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.int64)


def test_shift_rounds_halves_up():
    x = np.arange(-40, 41)
    assert (
        shift(x, 3) == [int((Fraction(int(v), 8) + Fraction(1, 2)).__floor__()) for v in x]
    ).all()
    assert (shift(x, -3) == 8 * x).all()
    assert not shift(x, 63).any() and not shift(x, np.array([98])).any()


def test_round_half_even_is_torchs():
    x = np.arange(-100, 101)
    for fraction in (0, 1, 3):
        expected = torch.from_numpy(x / 2.0**fraction).round().long().numpy()
        assert (layers.round_half_even(x, fraction) == expected).all()


@pytest.mark.parametrize(
    'low, high, bits', [(0, 1, 1), (-1, 1, 2), (0, 255, 8), (-128, 127, 8), (-129, 0, 9), (0, 0, 1)]
)
def test_bits_hold_the_range(low, high, bits):
    assert bits_of(low, high) == bits


def test_overflow_is_an_error_and_no_wrap():
    check_width('a', np.array([-128, 127]), 8)
    for value in (-129, 128):
        with pytest.raises(OverflowError, match=f'a: values {value} .. {value} do not fit 8 bits'):
            check_width('a', np.array([value]), 8)
    with pytest.raises(OverflowError, match='x: membrane'):
        layers.lif(np.full((9, 1), 100), None, True, 10**6, 0, False, 'x', 10)


@pytest.mark.parametrize('multiply', [False, True])
def test_weights_are_near_and_of_the_promised_width(multiply):
    weight = np.random.default_rng(0).normal(size=(5, 3, 3, 3)) * np.array(
        [1, 0.1, 7, 0, 3e-5]
    ).reshape(-1, 1, 1, 1)
    integers, scale = quantize_weight(weight, 8, multiply)
    assert np.abs(integers).max() <= 127
    assert (
        np.abs(integers * scale.reshape(-1, 1, 1, 1) - weight)
        <= scale.reshape(-1, 1, 1, 1) / 2 * (1 + 1e-9)
    ).all()
    assert multiply or (np.frexp(scale)[0] == 0.5).all()
    multiplier, places = as_ratio(0.3, 16)
    assert multiplier < 1 << 16 and abs(multiplier * 2.0**-places - 0.3) < 1e-5


@pytest.mark.parametrize(
    'stride, padding, dilation, groups',
    [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 1), 2), ((1, 1), (2, 2), (2, 2), 4)],
)
def test_integer_convolution_is_exact(stride, padding, dilation, groups):
    x, weight = draw(-9, 9, 2, 4, 7, 8), draw(-127, 128, 8, 4 // groups, 3, 3)
    expected = torch.conv2d(
        torch.from_numpy(x).double(),
        torch.from_numpy(weight).double(),
        None,
        stride,
        padding,
        dilation,
        groups,
    )
    assert (layers.conv2d(x, weight, stride, padding, dilation, groups) == expected.numpy()).all()


@pytest.mark.parametrize('decay_input', [False, True])
@pytest.mark.parametrize('reset', [0, 30, None])
@pytest.mark.parametrize('signed', [False, True])
@pytest.mark.parametrize('tau', [2.0, 4.0, 4 / 3, 3.0])
def test_lif_in_big_integers(tau, signed, reset, decay_input):
    """One neuron at a time with Python's integers, written as the equations are; every membrane is
    rounded down."""
    x = draw(-400, 400, 6, 20)
    m, places = as_ratio(1 / tau, 16)
    part = {2.0: Fraction(1, 2), 4.0: Fraction(1, 4), 4 / 3: Fraction(3, 4)}.get(
        tau, Fraction(m, 1 << places)
    )

    found = layers.lif(
        x, layers.Leak('n', tau, Rules(multiply=True)), decay_input, 128, reset, signed, 'n', 24
    )
    for column in range(x.shape[1]):
        v = rest = reset or 0
        for t in range(len(x)):
            current = int(x[t, column])
            moved = current - (v - rest) if decay_input else rest - v
            h = (v + moved * part + (0 if decay_input else current)).__floor__()
            s = (h >= 128) - (signed and h <= -128)
            assert found[t, column] == s
            v = h - 128 * s if reset is None else reset if s else h


def test_lif_is_the_fused_one_where_nothing_is_lost():
    """Currents in whole units of 2^-8 and a leak of 1/2 over 4 steps lose no bit with 16 bits below
    the point."""
    x = draw(-512, 512, 4, 200)
    found = layers.lif(x << 8, layers.Leak('n', 2.0, Rules()), True, 1 << 16, 0, True, 'n', 32)
    assert (
        found == fused_lif(torch.from_numpy(x / 256), signed=True).numpy()
    ).all() and found.any()


def test_a_leak_that_is_no_shift_is_refused():
    with pytest.raises(ValueError, match='neuron: the leak 1 / tau = 0.333333 is not a shift'):
        layers.Leak('neuron', 3.0, Rules())


def test_a_leak_that_leaves_64_bits_is_refused():
    rules = Rules(multiply=True, potential_bits=48, multiplier_bits=24, accumulator_bits=62)
    with pytest.raises(OverflowError, match='neuron: membranes of 48 bits times multiplier'):
        layers.Leak('neuron', 3.0, rules)
    layers.Leak('neuron', 2.0, rules)  # a shift


@pytest.mark.parametrize('n, d', [(1, 3), (64, 4), (256, 8), (49, 64), (7, 130)])
def test_shiftmax_by_leading_one_and_sticky_bit(n, d):
    """Against exact fractions; every other query is silent, so rows of n ones occur."""
    q, k = draw(-1, 2, 6, d), draw(-1, 2, n, d, seed=1)
    q[::2] = 0
    score = q @ k.T
    gap = score.max(-1, keepdims=True) - score
    found = layers.exponent_of_sum(gap)
    for row, exponent in zip(gap.tolist(), found[:, 0]):
        total, exact = sum(Fraction(1, 1 << g) for g in row), 0
        while total > 1 << exact:
            exact += 1
        assert exponent == exact


def test_shiftmax_sticky_bits_far_below():
    for row, expected in (
        ([0, 1, 2, 2], 1),
        ([0, 1, 2, 2, 300], 2),
        ([0, 0, 300], 2),
        ([0, *range(1, 70), 69], 1),
        ([0, *range(1, 70), 70], 1),
        ([0, 1, 1, 1], 2),
    ):
        assert layers.exponent_of_sum(np.array([row]))[0, 0] == expected, row


def test_values_shift_within_the_promised_error():
    q, k, v = (
        draw(-1, 2, 2, 30, 8),
        draw(-1, 2, 2, 30, 8, seed=1),
        draw(-2000, 2000, 2, 30, 5, seed=2),
    )
    exact = bipolar_attention(*(torch.from_numpy(x).double() for x in (q, k, v))).numpy()
    for guard in (0, 4, 8):
        error = layers.shiftmax_attention(q, k, v, guard) - exact
        assert error.max() <= 0.5 and error.min() > -(30 * 2.0**-guard + 0.5)
    assert (
        layers.shiftmax_attention(np.zeros_like(q), k, v * 30, 8)[:, 0]
        == layers.shiftmax_attention(q * 0, k, v * 30, 8)[:, 1]
    ).all()


@pytest.mark.parametrize('align', [False, True])
def test_bilinear_in_sixteenths(align):
    x = draw(-1000, 1000, 1, 2, 5, 4)
    for size in ((10, 8), (5, 4), (7, 9)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(x).double(), size, mode='bilinear', align_corners=align
        )
        steps = (
            2 * 2000 / 32 + 1 if size == (7, 9) or align else 0.5
        )  # weights of a factor of 2 are whole sixteenths
        assert np.abs(layers.bilinear(x, size, align) - expected.numpy()).max() <= steps


def test_max_pool():
    x = draw(-9, 9, 2, 3, 7, 8)
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x).double(), 3, 2, 1)
    assert (layers.max_pool2d(x, (3, 3), (2, 2), (1, 1)) == expected.numpy()).all()


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(weight_bits=1), 'weight_bits must be an integer in 2..24, got 1'),
        (dict(accumulator_bits=64), 'accumulator_bits'),
        (dict(fraction=0.5), 'fraction'),
    ],
)
def test_rules_are_checked(kwargs, words):
    with pytest.raises(ValueError, match=words):
        Rules(**kwargs)
