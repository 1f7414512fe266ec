# E-SpikeFormer 19M + 1.4M with Bipolar Self-attention on ADE20K: 43.41 mIoU in the paper (41.3
# without).
_base_ = './espikeformer_ade20k_19m.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
