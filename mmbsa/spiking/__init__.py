"""The spiking contract: which values neurons emit, how their state is passed on, and how a network
runs step by step.

This package imports only torch; models, energy accounting and deployment build on it.
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
from mmbsa.spiking.marks import add, bytes_of, carry, mark, marked, may_be_marked
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
    'add',
    'bytes_of',
    'carry',
    'checks_spikes',
    'counts',
    'domain_of',
    'is_streaming',
    'mark',
    'marked',
    'may_be_marked',
    'measure_domain',
    'spiking_neurons',
    'stream',
]
