# Spike-driven Transformer V1 2-256 on CIFAR10-DVS, T = 10, the official recipe: temporal efficient
# training.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='cifar10dvs-2-256', num_steps=10),
    head=dict(
        num_classes=10,
        loss=dict(
            _delete_=True,
            type='mmbsa.TETLoss',
            lamb=0.001,
            target=1.0,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    ),
)
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=10,
    by='number',
    size=(64, 64),
    cache_dir={{_base_.cache_dir}},
)
train_pipeline = [
    load,
    {{_base_.flip}},
    dict(type='RandomChoice', transforms={{_base_.event_augments_64}}),
    {{_base_.pack}},
]
test_pipeline = [load, {{_base_.pack}}]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=7.5e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.133, by_epoch=True, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=3e-4, by_epoch=True, begin=10, end=200),
]
train_cfg = dict(max_epochs=210)
custom_hooks = []  # Mixup is not used
