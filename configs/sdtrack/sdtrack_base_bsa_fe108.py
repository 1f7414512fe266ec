# SDTrack base with Bipolar Self-attention on FE108: one line differs from SDTrack.
_base_ = './sdtrack_base_fe108.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
