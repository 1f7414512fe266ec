# Spike2Former with Meta-SpikeFormer 15M on VOC 2012. 75.1 mIoU in the paper.
_base_ = './spike2former_espikeformer-l_4xb8-80k_voc12-512x512.py'
model = dict(
    backbone=dict(
        type='mmbsa.MetaSpikeFormer',
        arch='15m',
        num_steps=1,
        init_cfg=dict(checkpoint='checkpoints/meta_spikeformer-15m.pth'),
    )
)
