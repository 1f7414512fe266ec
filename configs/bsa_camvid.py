# The same network with Bipolar Self-attention: one line differs.
_base_ = './espikeformer/espikeformer_3-64_fpn_bsa_b8-800i_camvid-160x160.py'
