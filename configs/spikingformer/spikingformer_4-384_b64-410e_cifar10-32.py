# Spikingformer 4-384 on CIFAR-10, the official recipe; published accuracy 95.81 %.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikingformer', arch='cifar-4-384'), head=dict(num_classes=10)
)
