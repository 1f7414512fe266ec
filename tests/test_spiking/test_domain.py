"""Spike domains: what they hold, how they combine, and how an undeclared one is measured."""

import pytest
import torch
from torch import nn

from mmbsa.spiking import (
    BINARY,
    TERNARY,
    SpikeDomain,
    SpikingNeuron,
    counts,
    domain_of,
    measure_domain,
)


@pytest.mark.parametrize(
    'domain, inside, outside',
    [
        (BINARY, [0.0, 1.0], [-1.0, 0.5, 2.0]),
        (TERNARY, [-1.0, 0.0, 1.0], [-2.0, 0.5, float('nan')]),
        (counts(4, 0.25), [0.0, 0.25, 0.5, 1.0], [0.3, 1.25, -0.25]),
        (counts(2, 3.0, signed=True), [-6.0, -3.0, 0.0, 6.0], [1.0, 9.0]),
        (SpikeDomain(0, 1, 0.1), [0.0, torch.tensor(0.1).item()], [0.2]),
    ],
)
def test_domain_contains_its_values_only(domain, inside, outside):
    assert domain.contains(torch.tensor(inside)) and domain.contains(torch.empty(0))
    for value in outside:
        spikes = torch.tensor([*inside, value])
        assert not domain.contains(spikes)
        with pytest.raises(ValueError, match=r'q must be in .*found .* \(1 of'):
            domain.check(spikes, 'q')


def test_domain_properties():
    assert [d.bits for d in (BINARY, TERNARY, counts(4), counts(4, signed=True))] == [1, 2, 3, 4]
    assert counts(4, signed=True).levels == 4 and TERNARY.signed and not BINARY.signed
    assert BINARY.within(TERNARY) and BINARY.within(None) and not TERNARY.within(BINARY)
    assert not counts(1, 0.5).within(BINARY), 'the unit differs'
    assert BINARY.product(TERNARY) == TERNARY and counts(4, 0.25).product(TERNARY) == SpikeDomain(
        -4, 4, 0.25
    )
    assert BINARY.product(None) is None
    assert str(counts(4, 0.25)) == '{0..4} x 0.25'


@pytest.mark.parametrize(
    'arguments', [(1, 2), (0, -1), (0, 1.5), (0, 1, 0.0), (0, 1, float('inf'))]
)
def test_domain_refuses_bad_bounds(arguments):
    with pytest.raises(ValueError, match='SpikeDomain'):
        SpikeDomain(*arguments)


class Quantiser(nn.Module):
    def __init__(self, low, high, unit):
        super().__init__()
        self.low, self.high, self.unit = low, high, unit

    def forward(self, x):
        return x.round().clamp(self.low, self.high) * self.unit


@pytest.mark.parametrize(
    'domain', [BINARY, TERNARY, counts(3, 0.5), counts(2, 0.25, signed=True), SpikeDomain(-1, 4)]
)
def test_measure_domain_finds_counts(domain):
    neuron = Quantiser(domain.low, domain.high, domain.unit).train()
    assert measure_domain(neuron) == domain and neuron.training


@pytest.mark.parametrize(
    'neuron', [nn.Identity(), nn.Sigmoid(), Quantiser(0, 40, 1.0), Quantiser(0, 0, 1.0)]
)
def test_measure_domain_calls_the_rest_real(neuron):
    assert measure_domain(neuron) is None


def test_measure_domain_asks_for_a_declaration_where_it_cannot_run():
    with pytest.raises(TypeError, match='Conv2d declares no spike domain.*could not be measured'):
        measure_domain(nn.Conv2d(3, 3, 1))


def test_domain_of_asks_the_neuron():
    class Silent(SpikingNeuron):
        def run(self, x, state=None):
            return x, state

    assert domain_of(None) is None and domain_of(nn.Identity()) is None
    with pytest.raises(TypeError, match='Silent declares no spike domain'):
        domain_of(Silent())
    Silent.domain = TERNARY
    assert domain_of(Silent()) == TERNARY
    Silent.domain = 'binary'
    with pytest.raises(TypeError, match='Silent declares no spike domain'):
        domain_of(Silent())
