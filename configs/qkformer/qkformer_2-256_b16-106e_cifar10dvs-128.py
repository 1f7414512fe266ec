# QKFormer 2-256 on CIFAR10-DVS, T = 16, the official recipe; published accuracy 84.0 %.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.QKFormer', arch='dvs-2-256'), head=dict(num_classes=10))
optim_wrapper = dict(optimizer=dict(lr=5e-3))
