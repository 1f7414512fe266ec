"""Backbones: images or event frames -> tuple of time-major feature maps."""
from mmbsa.models.backbones.base import BaseSpikingBackbone, build_backbone
from mmbsa.models.backbones.espikeformer import ESpikeFormer

__all__ = ['BaseSpikingBackbone', 'ESpikeFormer', 'build_backbone']
