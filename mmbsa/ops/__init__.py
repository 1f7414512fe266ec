"""Tensor functions with several implementations each; floor 0 of the house, knows torch alone."""
from mmbsa.ops.bipolar_attention import bipolar_attention
from mmbsa.ops.dispatch import implementations
from mmbsa.ops.shiftmax import shiftmax

__all__ = ['bipolar_attention', 'implementations', 'shiftmax']
