# Spike2Former with Meta-SpikeFormer 15M on Cityscapes, with Bipolar Self-attention in backbone and
# head.
_base_ = './spike2former_meta-spikeformer-15m_t1_4xb8-90k_cityscapes-512x1024.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
