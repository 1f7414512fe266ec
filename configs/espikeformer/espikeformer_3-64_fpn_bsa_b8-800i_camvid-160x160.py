# The same network with Bipolar Self-attention: one line differs.
_base_ = './espikeformer_3-64_fpn_b8-800i_camvid-160x160.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
