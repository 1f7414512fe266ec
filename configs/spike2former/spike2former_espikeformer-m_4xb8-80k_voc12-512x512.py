# Spike2Former with E-SpikeFormer 10M on VOC 2012.
_base_ = './spike2former_espikeformer-l_4xb8-80k_voc12-512x512.py'
model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='checkpoints/espikeformer-m.pth')),
    decode_head=dict(in_channels=[24, 48, 96, 240]),
)
