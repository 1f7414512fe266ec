"""Spiking decode heads for mmseg; imported only where mmseg is installed."""
from mmbsa.models.decode_heads.spike_fpn_head import SpikeFPNHead

__all__ = ['SpikeFPNHead']
