"""Spike2Former: pixel decoder, transformer decoder, matching and losses, head."""

from mmbsa.models.segmentation.heads.spike2former.criterion import MaskCriterion
from mmbsa.models.segmentation.heads.spike2former.deformable import SpikeDeformableAttention
from mmbsa.models.segmentation.heads.spike2former.head import Spike2FormerHead
from mmbsa.models.segmentation.heads.spike2former.pixel_decoder import (
    Spike2FormerEncoderLayer,
    Spike2FormerPixelDecoder,
)
from mmbsa.models.segmentation.heads.spike2former.transformer import (
    QueryAttention,
    Spike2FormerDecoderLayer,
)

__all__ = [
    'MaskCriterion',
    'QueryAttention',
    'Spike2FormerDecoderLayer',
    'Spike2FormerEncoderLayer',
    'Spike2FormerHead',
    'Spike2FormerPixelDecoder',
    'SpikeDeformableAttention',
]
