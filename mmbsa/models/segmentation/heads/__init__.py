"""Spiking decode heads: time-major maps -> logits."""
from mmbsa.models.segmentation.heads.spike_fcn_head import SpikeFCNHead
from mmbsa.models.segmentation.heads.spike_fpn_head import SpikeFPNHead

__all__ = ['SpikeFCNHead', 'SpikeFPNHead']
