"""Spiking decode heads: from time-major maps to logits."""

from mmbsa.models.segmentation.heads.spike2former import Spike2FormerHead
from mmbsa.models.segmentation.heads.spike_fcn_head import SpikeFCNHead
from mmbsa.models.segmentation.heads.spike_fpn_head import SpikeFPNHead
from mmbsa.models.segmentation.heads.spike_mlp_head import SpikeMLPHead
from mmbsa.models.segmentation.heads.spike_uper_head import SpikeUPerHead

__all__ = ['Spike2FormerHead', 'SpikeFCNHead', 'SpikeFPNHead', 'SpikeMLPHead', 'SpikeUPerHead']
