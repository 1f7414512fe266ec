# The same detector with Bipolar Self-attention: one line differs.
_base_ = './mask_rcnn_meta_spikeformer_55m_step_coco.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
