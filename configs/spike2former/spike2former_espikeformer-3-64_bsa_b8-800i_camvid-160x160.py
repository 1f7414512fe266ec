# The same network with Bipolar Self-attention in backbone and head.
_base_ = './spike2former_espikeformer-3-64_b8-800i_camvid-160x160.py'
attention = dict(type='mmbsa.BipolarSelfAttention')
model = dict(backbone=dict(attention=attention), decode_head=dict(attention=attention))
