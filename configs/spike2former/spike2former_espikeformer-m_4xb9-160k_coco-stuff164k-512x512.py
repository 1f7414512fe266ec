# Spike2Former with E-SpikeFormer 10M on COCO-Stuff 164k.
_base_ = './spike2former_espikeformer-l_4xb9-160k_coco-stuff164k-512x512.py'
model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='checkpoints/espikeformer-m.pth')),
    decode_head=dict(in_channels=[24, 48, 96, 240]),
)
