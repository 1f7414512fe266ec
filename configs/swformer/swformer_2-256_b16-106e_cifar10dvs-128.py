# SWFormer 2-256 on CIFAR10-DVS, T = 16, the official recipe: the loss is the mean over time steps.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SWFormer', arch='cifar10dvs-2-256'),
    head=dict(num_classes=10, loss=dict(_delete_=True, type='mmbsa.TETLoss', lamb=0.0)),
)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=10, end=96),
]
train_dataloader = dict(batch_size=16)
custom_hooks = []  # Mixup is used until the end
