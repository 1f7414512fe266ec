# Spike2Former with E-SpikeFormer 10M on Cityscapes.
_base_ = './spike2former_espikeformer-l_4xb8-90k_cityscapes-512x1024.py'
model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='checkpoints/espikeformer-m.pth')),
    decode_head=dict(in_channels=[24, 48, 96, 240]),
)
