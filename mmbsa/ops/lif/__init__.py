"""Leaky integrate-and-fire in one call for all steps, binary and ternary (BSA paper, eqs. 9-11)."""

from mmbsa.ops.lif.api import lif, ternary_lif

__all__ = ['lif', 'ternary_lif']
