# SDTrack base with Bipolar Self-attention on VisEvent: one line differs from SDTrack.
_base_ = './sdtrack_base_visevent.py'
model = dict(backbone=dict(attention=dict(type='BipolarSelfAttention')))
