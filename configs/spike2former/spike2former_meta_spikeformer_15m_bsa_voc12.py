# Spike2Former with Meta-SpikeFormer 15M on VOC 2012, with Bipolar Self-attention in backbone and
# head.
_base_ = './spike2former_meta_spikeformer_15m_voc12.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
