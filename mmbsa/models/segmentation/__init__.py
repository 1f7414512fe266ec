"""Segmentation: spiking decode heads for mmseg."""

from mmbsa.models.segmentation.heads import (
    Spike2FormerHead,
    SpikeFCNHead,
    SpikeFPNHead,
    SpikeMLPHead,
    SpikeUPerHead,
)

__all__ = ['Spike2FormerHead', 'SpikeFCNHead', 'SpikeFPNHead', 'SpikeMLPHead', 'SpikeUPerHead']
