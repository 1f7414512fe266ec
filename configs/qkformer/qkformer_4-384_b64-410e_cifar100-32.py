# QKFormer 4-384 on CIFAR-100, the official recipe.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.QKFormer', arch='cifar-4-384'), head=dict(num_classes=100))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
