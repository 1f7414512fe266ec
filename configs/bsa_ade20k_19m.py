# E-SpikeFormer 19M + 1.4M with Bipolar Self-attention on ADE20K: 43.41 mIoU in the paper (41.3
# without).
_base_ = './espikeformer/espikeformer_l_fpn_bsa_4xb4-160k_ade20k-512x512.py'
