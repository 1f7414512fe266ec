# The same network with Bipolar Self-attention: one line differs.
_base_ = './spikingformer_1-64_t8_b32-40e_nmnist-34.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
