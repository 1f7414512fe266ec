# The same detector with Bipolar Self-attention: one line differs.
_base_ = './mask_rcnn_espikeformer_m_1x_coco.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
