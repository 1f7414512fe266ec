# A small Spikingformer on N-MNIST, 8 frames, for two CPU cores. To use another folder, set
# NMNIST_ROOT in the environment.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/nmnist.py',
    '../_base_/schedules/events_40e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.Spikingformer',
        arch=dict(embed_dims=64, depth=1, num_heads=4, pooling='0111', in_channels=2),
        num_steps=8,
    ),
    head=dict(num_classes=10),
)
