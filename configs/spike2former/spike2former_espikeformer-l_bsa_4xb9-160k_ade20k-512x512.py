# Spike2Former with E-SpikeFormer 19M on ADE20K, with Bipolar Self-attention in backbone and head.
_base_ = './spike2former_espikeformer-l_4xb9-160k_ade20k-512x512.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
