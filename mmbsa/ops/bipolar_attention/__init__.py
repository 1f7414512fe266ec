"""Bipolar attention: a product of spikes, Shiftmax, and a product with real values (BSA paper, eqs.
16-18)."""

from mmbsa.ops.bipolar_attention.api import bipolar_attention

__all__ = ['bipolar_attention']
