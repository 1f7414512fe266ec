# SDTrack tiny with Bipolar Self-attention on VisEvent: one line differs from SDTrack.
_base_ = './sdtrack_tiny_4xb42-100e_visevent-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
