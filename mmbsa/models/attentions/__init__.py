"""Attention kinds: neurons of q, k, v and the output, and the mixing; a family owns the projections around them."""
from mmbsa.models.attentions.base import DotProductAttention, build_attention
from mmbsa.models.attentions.bipolar import BipolarSelfAttention
from mmbsa.models.attentions.dual_spike import DualSpikeSelfAttention
from mmbsa.models.attentions.projected import ProjectedAttention
from mmbsa.models.attentions.query_key import QKChannelAttention, QKTokenAttention, QueryKeyAttention
from mmbsa.models.attentions.softmax import SoftmaxAttention
from mmbsa.models.attentions.spike_driven import EfficientSpikeDrivenSelfAttention, SpikeDrivenSelfAttention
from mmbsa.models.attentions.spiking_self_attention import SpikingSelfAttention

__all__ = ['BipolarSelfAttention', 'DotProductAttention', 'DualSpikeSelfAttention', 'EfficientSpikeDrivenSelfAttention',
           'ProjectedAttention', 'QKChannelAttention', 'QKTokenAttention', 'QueryKeyAttention', 'SoftmaxAttention',
           'SpikeDrivenSelfAttention', 'SpikingSelfAttention', 'build_attention']
