"""Counting rules: one rule per op name, a function of the :class:`Call` of the op."""

from mmbsa.energy.rules import (  # noqa: F401
    attention,
    convolution,
    elementwise,
    matmul,
    moves,
    neuron,
    reductions,
)
from mmbsa.energy.rules.neuron import is_neuron, neuron_module
from mmbsa.energy.rules.registry import RULES, Call, find, rule

__all__ = ['RULES', 'Call', 'find', 'is_neuron', 'neuron_module', 'rule']
