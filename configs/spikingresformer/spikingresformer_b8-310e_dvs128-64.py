# SpikingResformer on DVS128 Gesture, T = 16, the official recipe of training from scratch.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/dvs_gesture.py',
    '../_base_/schedules/events_192e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikingResformer', arch='dvsg', num_steps=16),
    head=dict(num_classes=11),
)
data_preprocessor = dict(add_sum=True)  # the sum of the polarities is a third channel
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=16,
    by='number',
    size=(64, 64),
    cache_dir={{_base_.cache_dir}},
)
train_pipeline = [
    load,
    dict(type='RandomChoice', transforms={{_base_.event_augments_64}}),
    {{_base_.pack}},
]
test_pipeline = [load, {{_base_.pack}}]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=3),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=3, end=300),
]
train_cfg = dict(max_epochs=310)
custom_hooks = []  # Mixup is not used
