"""The paper's statements about products of spikes, measured on the op: moments, covariances,
correlations.

q_i, k_i ~ N(0, s^2), spikes above a threshold th, p = P(q > th), phi the standard normal density at
th / s. Every bound is five standard errors, estimated from the sample itself; the seed is fixed.
"""

import math

import pytest
import torch

from mmbsa.ops import bipolar_attention

SAMPLES, D = 200_000, 16


def products(s, th):
    """Real, binary and ternary product of SAMPLES independent pairs of query and key, by the op."""
    generator = torch.Generator().manual_seed(2025)
    q, k = (
        torch.randn(SAMPLES, 1, D, generator=generator, dtype=torch.float64) * s for _ in range(2)
    )
    fire = {
        'real': lambda x: x,
        'binary': lambda x: (x > th).double(),
        'ternary': lambda x: x.sign() * (x.abs() > th),
    }
    one = torch.ones(SAMPLES, 1, 1, dtype=torch.float64)
    return {
        name: bipolar_attention(f(q), f(k), one, product=name, normalizer='none').flatten()
        for name, f in fire.items()
    }


def mean_and_error(x):
    return float(x.mean()), float(x.std()) / math.sqrt(len(x))


@pytest.mark.parametrize('s, th', [(1.0, 0.5), (1.0, 1.2), (0.6, 1.0)])
def test_moments_and_covariances(s, th):
    p, phi = (
        math.erfc(th / s / math.sqrt(2)) / 2,
        math.exp(-((th / s) ** 2) / 2) / math.sqrt(2 * math.pi),
    )
    product = products(s, th)
    centred = {name: x - x.mean() for name, x in product.items()}
    for sample, expected in (
        (product['real'], 0.0),
        (product['ternary'], 0.0),
        (product['binary'], D * p**2),
        (centred['real'] * centred['binary'], D * phi**2 * s**2),
        (centred['real'] * centred['ternary'], 4 * D * phi**2 * s**2),
        (centred['ternary'] ** 2, D * (2 * p) ** 2),
        (centred['binary'] ** 2, D * (p**2 - p**4)),
    ):
        mean, error = mean_and_error(sample)
        assert abs(mean - expected) < 5 * error
    assert (
        D * p**2 > 10 * mean_and_error(product['binary'])[1]
    )  # the binary product is off centre, visibly


@pytest.mark.parametrize('s, th', [(1.0, 0.5), (1.0, 1.2), (0.6, 1.0)])
def test_ratio_of_correlations(s, th):
    """rho(RMP, TMP) / rho(RMP, BMP) = 2 sqrt(1 - p^2)."""
    p = math.erfc(th / s / math.sqrt(2)) / 2
    centred = {name: x - x.mean() for name, x in products(s, th).items()}
    real, binary, ternary = centred['real'], centred['binary'], centred['ternary']
    moments = [mean_and_error(x) for x in (real * ternary, real * binary, binary**2, ternary**2)]
    (cov_t, _), (cov_b, _), (var_b, _), (var_t, _) = moments
    ratio = cov_t / cov_b * math.sqrt(var_b / var_t)
    relative_error = sum(error / mean for mean, error in moments)
    assert relative_error < 0.05
    assert abs(ratio / (2 * math.sqrt(1 - p**2)) - 1) < 5 * relative_error
