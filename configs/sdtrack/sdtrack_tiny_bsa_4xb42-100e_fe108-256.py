# SDTrack tiny with Bipolar Self-attention on FE108: one line differs from SDTrack.
_base_ = './sdtrack_tiny_4xb42-100e_fe108-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
