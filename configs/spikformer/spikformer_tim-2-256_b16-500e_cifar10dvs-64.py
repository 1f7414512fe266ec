# Spikformer 2-256 with the temporal interaction module (TIM) on CIFAR10-DVS, T = 10, 64 x 64, the
# official recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/tim_500e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='tim-2-256', num_steps=10),
    head=dict(num_classes=10),
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
