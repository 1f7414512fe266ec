# Spikformer 2-256 with the temporal interaction module (TIM) on CIFAR10-DVS, T = 10, 64 x 64, the
# official recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='tim-2-256', num_steps=10),
    head=dict(num_classes=10),
)
# 5e-3 per 1024 images
optim_wrapper = dict(optimizer=dict(lr=5e-3 * 16 / 1024, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=500),
]
train_cfg = dict(max_epochs=500)
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
custom_hooks = []  # no Mixup to switch off
