# SpikingResformer-Ti* on CIFAR-10, the official recipe of training from scratch: 600 epochs.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SpikingResformer', arch='cifar'), head=dict(num_classes=10))
data_preprocessor = dict(std=[51.5865, 50.847, 51.255])  # as in the official code
train_pipeline = [
    {{_base_.flip}},
    dict(
        type='mmbsa.TimmRandAugment',
        config='rand-m7-n1-mstd0.5-inc1',
        mean={{_base_.mean}},
        channel_order='rgb',
    ),
    {{_base_.pack}},
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=3),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=3, end=600),
]
train_cfg = dict(max_epochs=610)
custom_hooks = []  # Mixup is used until the end
