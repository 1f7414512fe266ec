# SGLFormer 4-384 on CIFAR-10, the official recipe; published accuracy 96.76 %.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SGLFormer', arch='cifar-4-384'), head=dict(num_classes=10))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=400),
]
