# The same detector with Bipolar Self-attention: one line differs.
_base_ = './espikeformer_l_cascade-mask-rcnn_2xb4-36e_coco-512x853.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
