"""Segmentation: decode heads for mmseg."""
from mmbsa.models.segmentation.heads import SpikeFCNHead, SpikeFPNHead

__all__ = ['SpikeFCNHead', 'SpikeFPNHead']
