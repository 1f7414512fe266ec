# SDTrack base with Bipolar Self-attention on VisEvent: one line differs from SDTrack.
_base_ = './sdtrack_base_4xb18-100e_visevent-256.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
