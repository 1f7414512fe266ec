"""Leaky integrate-and-fire neurons, binary and ternary, all steps in one call (BSA paper, eqs.
9-11)."""

from mmbsa.ops.lif.api import lif, ternary_lif

__all__ = ['lif', 'ternary_lif']
