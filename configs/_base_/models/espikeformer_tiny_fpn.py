# A tenth of the 10M network, trained from scratch, for small images and for machines without a GPU.
_base_ = './espikeformer_fpn.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(16, 32, 48, 64), depths=(2, 1), num_heads=4),
        layer_scale=None,
    ),  # 1e-6 is for pre-trained blocks
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    decode_head=dict(in_channels=[32, 32, 32, 32], channels=32),
)
