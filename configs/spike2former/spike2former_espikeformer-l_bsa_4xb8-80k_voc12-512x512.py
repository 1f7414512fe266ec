# Spike2Former with E-SpikeFormer 19M on VOC 2012, with Bipolar Self-attention in backbone and head.
_base_ = './spike2former_espikeformer-l_4xb8-80k_voc12-512x512.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
