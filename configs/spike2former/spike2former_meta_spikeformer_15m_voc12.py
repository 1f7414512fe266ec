# Spike2Former with Meta-SpikeFormer 15M on VOC 2012. 75.1 mIoU in the paper.
_base_ = './spike2former_espikeformer_l_voc12.py'
model = dict(
    backbone=dict(
        type='mmbsa.MetaSpikeFormer',
        arch='15m',
        num_steps=1,
        init_cfg=dict(checkpoint='checkpoints/meta_spikeformer-15m.pth'),
    )
)
