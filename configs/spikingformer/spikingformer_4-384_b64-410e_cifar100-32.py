# Spikingformer 4-384 on CIFAR-100, the official recipe and the baseline of the ablation of Bipolar
# Self-attention; published accuracy 79.21 %, 79.13 in the paper of BSA.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikingformer', arch='cifar-4-384'), head=dict(num_classes=100)
)
