# Spike-driven Transformer V1 2-512 on CIFAR-100, the official recipe: 300 epochs, no mixed
# precision.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar100_m9.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='cifar-2-512'),
    head=dict(num_classes=100),
)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.06),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.0033, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300),
]
train_cfg = dict(max_epochs=310)
