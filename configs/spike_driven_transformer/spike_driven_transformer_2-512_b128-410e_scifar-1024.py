# Spike-driven Transformer V1 2-512 with one-dimensional convolutions on sequential CIFAR-10, as in
# the STEP benchmark (T = 4).
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/scifar.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.SpikeDrivenTransformer',
        arch=dict(embed_dims=512, depth=2, num_heads=8, pooling='1111', in_channels=3),
        stem='sequence',
    ),
    head=dict(num_classes=10),
)
custom_hooks = []  # Mixup is not used
