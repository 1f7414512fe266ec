"""Stems: the order of neurons, convolutions and pools."""

import pytest
import torch
from torch import nn

from mmbsa.models.backbones.tokenizers import two_conv_stem
from mmbsa.spiking import SpikingNeuron

UNIT = dict(neuron=dict(type='mmbsa.LIFNode', tau=2.0), norm_cfg=dict(type='BN'))


def kinds(modules):
    """Names of the parts in their order: neuron, conv, pool."""
    found = []
    for module in modules.modules():
        if isinstance(module, SpikingNeuron):
            found.append('neuron')
        elif isinstance(module, nn.Conv2d):
            found.append('conv')
        elif isinstance(module, nn.MaxPool2d):
            found.append('pool')
    return found


@pytest.mark.parametrize('spikes', [False, True], ids=['membrane', 'spike'])
def test_stem_of_two_convolutions_pools_spikes(spikes):
    torch.manual_seed(0)
    first, (second,) = two_conv_stem(3, 16, 3, spikes, nn.Identity(), UNIT)
    if spikes:  # the neuron comes last
        assert sorted(kinds(first)) == ['conv', 'neuron']
        assert kinds(second)[:2] == ['pool', 'pool'] and kinds(second)[-1] == 'pool'
        assert sorted(kinds(second)) == ['conv', 'neuron', 'pool', 'pool', 'pool']
    else:  # the neuron of the second convolution comes before the pools
        assert kinds(first) == ['conv']
        assert kinds(second) == ['neuron', 'pool', 'pool', 'conv', 'pool']
    x = 3 * torch.randn(2, 1, 3, 16, 16)
    out = second(first(x))
    assert out.shape == (2, 1, 16, 2, 2)
    assert set(out.unique().tolist()) <= {0.0, 1.0} or not spikes
