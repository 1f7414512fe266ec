# E-SpikeFormer 10M + 1.4M with Bipolar Self-attention on ADE20K: 41.90 mIoU in the paper (40.1
# without). One training step with 4 integer levels, as in the published 1x4 protocol;
# model.backbone.num_steps=4 is the paper's T = 4.
_base_ = './espikeformer/espikeformer_m_fpn_bsa_4xb4-160k_ade20k-512x512.py'
