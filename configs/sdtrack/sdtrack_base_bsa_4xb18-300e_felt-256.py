# SDTrack base with Bipolar Self-attention on FELT: one line differs from SDTrack.
_base_ = './sdtrack_base_4xb18-300e_felt-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
