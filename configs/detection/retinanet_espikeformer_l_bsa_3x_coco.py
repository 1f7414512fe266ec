# The same detector with Bipolar Self-attention: one line differs.
_base_ = './retinanet_espikeformer_l_3x_coco.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
