"""Encoders: from images, sequences or event frames to time-major tensors (T, B, C, H, W)."""

from mmbsa.models.encoders.base import Encoder, PixelEncoder
from mmbsa.models.encoders.direct import DirectEncoder
from mmbsa.models.encoders.pixels import PhaseEncoder, RateEncoder, TTFSEncoder

__all__ = ['DirectEncoder', 'Encoder', 'PhaseEncoder', 'PixelEncoder', 'RateEncoder', 'TTFSEncoder']
