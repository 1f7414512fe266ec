"""Neurons: layers from input current (T, *) to spikes (T, *); every forward starts at rest."""

from mmbsa.models.neurons.build import bind_steps, build_neuron, readout_neuron, ternary_neuron
from mmbsa.models.neurons.dynamics import AsymmetricIFNode, HDLIFNode, HodgkinHuxleyNode
from mmbsa.models.neurons.foreign import ForeignNode
from mmbsa.models.neurons.integer import IntegerNode, SignedIntegerNode
from mmbsa.models.neurons.spikingjelly import NODE_NAMES, StatelessNode
from mmbsa.models.neurons.surrogates import build_surrogate

__all__ = [
    'NODE_NAMES',
    'AsymmetricIFNode',
    'ForeignNode',
    'HDLIFNode',
    'HodgkinHuxleyNode',
    'IntegerNode',
    'SignedIntegerNode',
    'StatelessNode',
    'bind_steps',
    'build_neuron',
    'build_surrogate',
    'readout_neuron',
    'ternary_neuron',
]
