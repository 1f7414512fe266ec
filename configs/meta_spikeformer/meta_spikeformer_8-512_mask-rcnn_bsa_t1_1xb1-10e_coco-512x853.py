# The same detector with Bipolar Self-attention: one line differs.
_base_ = './meta_spikeformer_8-512_mask-rcnn_t1_1xb1-10e_coco-512x853.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
