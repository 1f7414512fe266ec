# Spike2Former with Meta-SpikeFormer 15M on Cityscapes. 75.2 mIoU in the paper.
_base_ = './spike2former_espikeformer-l_4xb8-90k_cityscapes-512x1024.py'
model = dict(
    backbone=dict(
        type='mmbsa.MetaSpikeFormer',
        arch='15m',
        num_steps=1,
        init_cfg=dict(checkpoint='checkpoints/meta_spikeformer-15m.pth'),
    ),
    decode_head=dict(encoder_feedforward_channels=2048),
)
