# The same network with Bipolar Self-attention: one line differs.
_base_ = './espikeformer_camvid.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
