"""Encoders: images or event frames -> (T, B, C, H, W)."""
from mmbsa.models.encoders.direct import DirectEncoder

__all__ = ['DirectEncoder']
