"""Backbones: images or event frames -> tuple of time-major feature maps."""
from mmbsa.models.backbones.base import BaseSpikingBackbone, build_backbone
from mmbsa.models.backbones.columnar import ColumnarBackbone
from mmbsa.models.backbones.espikeformer import ESpikeFormer
from mmbsa.models.backbones.espikeformer_large import ESpikeFormerLarge
from mmbsa.models.backbones.meta_spikeformer import MetaSpikeFormer
from mmbsa.models.backbones.metaformer import MetaFormerBackbone
from mmbsa.models.backbones.qkformer import QKFormer
from mmbsa.models.backbones.spike_driven_transformer import SpikeDrivenTransformer
from mmbsa.models.backbones.spikformer import Spikformer
from mmbsa.models.backbones.spikingformer import Spikingformer
from mmbsa.models.backbones.spikingresformer import SpikingResformer

__all__ = ['BaseSpikingBackbone', 'ColumnarBackbone', 'ESpikeFormer', 'ESpikeFormerLarge', 'MetaFormerBackbone',
           'MetaSpikeFormer', 'QKFormer', 'SpikeDrivenTransformer', 'Spikformer', 'Spikingformer', 'SpikingResformer',
           'build_backbone']
