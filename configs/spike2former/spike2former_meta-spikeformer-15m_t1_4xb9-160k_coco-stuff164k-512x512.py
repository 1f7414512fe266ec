# Spike2Former with Meta-SpikeFormer 15M on COCO-Stuff 164k.
_base_ = './spike2former_espikeformer-l_4xb9-160k_coco-stuff164k-512x512.py'
model = dict(
    backbone=dict(
        type='mmbsa.MetaSpikeFormer',
        arch='15m',
        num_steps=1,
        init_cfg=dict(checkpoint='checkpoints/meta_spikeformer-15m.pth'),
    )
)
