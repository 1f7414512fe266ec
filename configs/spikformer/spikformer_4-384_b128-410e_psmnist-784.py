# Spikformer 4-384 with one-dimensional convolutions on permuted sequential MNIST, as in the STEP
# benchmark (T = 4, batches of 128).
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/psmnist.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.Spikformer',
        arch=dict(embed_dims=384, depth=4, num_heads=12, pooling='0111', in_channels=1),
        stem='sequence',
    ),
    head=dict(num_classes=10),
)
custom_hooks = []  # Mixup is not used
