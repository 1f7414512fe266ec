# Spike-driven Transformer V1 2-512 on CIFAR-10, the official recipe: 300 epochs, no erasing, no
# mixed precision.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='cifar-2-512'),
    head=dict(num_classes=10),
)
train_pipeline = [
    {{_base_.flip}},
    dict(
        type='mmbsa.TimmRandAugment',
        config='rand-m9-n1-mstd0.4-inc1',
        mean={{_base_.mean}},
        channel_order='rgb',
    ),
    {{_base_.pack}},
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
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
