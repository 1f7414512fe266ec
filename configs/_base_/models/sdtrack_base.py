"""SDTrack base, 1 x 4 (T x D)."""

_base_ = './sdtrack_tiny.py'
model = dict(
    backbone=dict(arch=dict(embed_dims=(128, 256, 512, 768), depths=(9, 3), num_heads=16)),
    head=dict(channels=512),
)
