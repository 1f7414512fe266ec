# Spike2Former with E-SpikeFormer 10M on Cityscapes, with Bipolar Self-attention in backbone and
# head.
_base_ = './spike2former_espikeformer-m_4xb8-90k_cityscapes-512x1024.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
