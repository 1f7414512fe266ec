"""The spiking contract: what neurons emit, how their state is carried, and how a network streams.

This package imports torch alone; models, energy accounting and deployment build on it.
"""

from mmbsa.spiking.attention import AttentionKind
from mmbsa.spiking.domain import (
    BINARY,
    TERNARY,
    SpikeDomain,
    checks_spikes,
    counts,
    domain_of,
    measure_domain,
)
from mmbsa.spiking.neuron import SpikingNeuron, Stateful, spiking_neurons
from mmbsa.spiking.stream import State, is_streaming, stream

__all__ = [
    'BINARY',
    'TERNARY',
    'AttentionKind',
    'SpikeDomain',
    'SpikingNeuron',
    'State',
    'Stateful',
    'checks_spikes',
    'counts',
    'domain_of',
    'is_streaming',
    'measure_domain',
    'spiking_neurons',
    'stream',
]
