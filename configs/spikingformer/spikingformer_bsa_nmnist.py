# The same network with Bipolar Self-attention: one line differs.
_base_ = './spikingformer_nmnist.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
