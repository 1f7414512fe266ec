"""Bipolar attention.

spikes times spikes, Shiftmax, and a shift of the values (BSA paper, eqs. 16-18).
"""

from mmbsa.ops.bipolar_attention.api import bipolar_attention

__all__ = ['bipolar_attention']
