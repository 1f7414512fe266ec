# SDTrack tiny with Bipolar Self-attention on FELT: one line differs from SDTrack.
_base_ = './sdtrack_tiny_4xb42-300e_felt-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
