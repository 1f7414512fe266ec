# A small Spike2Former on the tiny backbone of espikeformer_tiny_fpn.py, trained from scratch.
_base_ = './spike2former.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(16, 32, 48, 64), depths=(2, 1), num_heads=4),
        init_cfg=None,
    ),
    decode_head=dict(
        in_channels=[8, 16, 32, 64],
        channels=32,
        num_queries=20,
        num_layers=3,
        num_encoder_layers=1,
        num_heads=4,
        groups=8,
        feedforward_channels=128,
        encoder_feedforward_channels=128,
    ),
)
