"""Segmentation: decode heads for mmseg."""
from mmbsa.models.segmentation.heads import SpikeFPNHead

__all__ = ['SpikeFPNHead']
