# Spikformer 2-256 with the temporal interaction module (TIM) on CIFAR10-DVS, T = 10, 64 x 64, the
# official recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/cifar10_dvs_64.py',
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
train_dataloader = dict(batch_size=16)
custom_hooks = []  # no Mixup to switch off
