# SDTrack base with Bipolar Self-attention on FE108: one line differs from SDTrack.
_base_ = './sdtrack_base_4xb18-50e_fe108-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
