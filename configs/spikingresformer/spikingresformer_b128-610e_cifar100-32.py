# SpikingResformer-Ti* on CIFAR-100, the official recipe of training from scratch: 600 epochs.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar100_m7.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SpikingResformer', arch='cifar'), head=dict(num_classes=100))
optim_wrapper = dict(optimizer=dict(weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=3),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=3, end=600),
]
train_cfg = dict(max_epochs=610)
custom_hooks = []  # Mixup to the end
