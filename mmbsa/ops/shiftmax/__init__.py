"""Shiftmax: powers of two that sum to (1/2, 1] (BSA paper, eqs. 13-15)."""

from mmbsa.ops.shiftmax.api import shiftmax

__all__ = ['shiftmax']
