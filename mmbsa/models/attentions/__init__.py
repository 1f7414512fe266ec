"""Attention kinds: neurons of q, k, v and the output, and the mixing; a family owns the projections around them."""
from mmbsa.models.attentions.base import DotProductAttention, build_attention
from mmbsa.models.attentions.bipolar import BipolarSelfAttention
from mmbsa.models.attentions.projected import ProjectedAttention
from mmbsa.models.attentions.spike_driven import EfficientSpikeDrivenSelfAttention

__all__ = ['BipolarSelfAttention', 'DotProductAttention', 'EfficientSpikeDrivenSelfAttention', 'ProjectedAttention',
           'build_attention']
