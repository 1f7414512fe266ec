# Spike-driven Transformer V1 2-256 on DVS128 Gesture, T = 16, the official recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/dvs_gesture.py',
    '../_base_/schedules/events_192e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='dvs128-2-256', num_steps=16),
    head=dict(num_classes=11),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='mmbsa.Lamb', lr=3e-4, weight_decay=0.06))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.033, by_epoch=True, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10, end=200),
]
train_cfg = dict(max_epochs=210)
custom_hooks = []  # Mixup is not used
