"""The neuron base class: statelessness, the run-time check, and finding neurons in a model."""

import pytest
import torch
from torch import nn

from mmbsa.spiking import BINARY, SpikingNeuron, spiking_neurons


class Sum(SpikingNeuron):
    """Fires where the running sum of its input is positive."""

    domain = BINARY

    def run(self, x, state=None):
        total = x.cumsum(0) if state is None else state + x.cumsum(0)
        return (total > 0).to(x), total[-1]


def test_forward_starts_at_rest():
    neuron, x = Sum(), torch.tensor([[1.0], [-3.0], [1.0]])
    assert torch.equal(neuron(x), neuron(x)) and neuron(x).tolist() == [[1.0], [0.0], [0.0]]
    spikes, state = neuron.run(x)
    assert torch.equal(spikes, neuron(x)) and state.tolist() == [-1.0]
    assert neuron.run(x, torch.tensor([2.5]))[0].tolist() == [[1.0], [1.0], [1.0]]


def test_forward_checks_spikes_on_request(monkeypatch):
    class Wrong(Sum):
        def run(self, x, state=None):
            return 2 * x, None

    x = torch.ones(2, 3)
    Wrong()(x)
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '1')
    Sum()(x)
    with pytest.raises(ValueError, match=r'spikes of Wrong must be in \{0..1\}, found 2 \(6 of 6'):
        Wrong()(x)
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '0')
    Wrong()(x)


def test_spiking_neurons_finds_the_outer_ones():
    class Real(Sum):
        domain = None

    class Wrapped(Sum):
        def __init__(self):
            super().__init__()
            self.inner = Sum()

    model = nn.Sequential(nn.Linear(1, 1), Sum(), Real(), Wrapped())
    assert list(spiking_neurons(model)) == ['1', '3']


def test_a_class_without_run_says_so():
    class Empty(SpikingNeuron):
        domain = BINARY

    with pytest.raises(NotImplementedError, match='Empty must define run'):
        Empty()(torch.ones(1, 1))
