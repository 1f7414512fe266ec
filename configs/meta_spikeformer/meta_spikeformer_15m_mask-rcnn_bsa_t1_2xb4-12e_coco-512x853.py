# The same detector with Bipolar Self-attention: one line differs.
_base_ = './meta_spikeformer_15m_mask-rcnn_t1_2xb4-12e_coco-512x853.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
