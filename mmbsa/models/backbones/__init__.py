"""Backbones: images or event frames -> tuple of time-major feature maps."""
from mmbsa.models.backbones.base import BaseSpikingBackbone, build_backbone
from mmbsa.models.backbones.columnar import ColumnarBackbone
from mmbsa.models.backbones.espikeformer import ESpikeFormer
from mmbsa.models.backbones.qkformer import QKFormer
from mmbsa.models.backbones.spikformer import Spikformer
from mmbsa.models.backbones.spikingformer import Spikingformer

__all__ = ['BaseSpikingBackbone', 'ColumnarBackbone', 'ESpikeFormer', 'QKFormer', 'Spikformer', 'Spikingformer',
           'build_backbone']
