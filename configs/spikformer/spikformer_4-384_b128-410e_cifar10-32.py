# Spikformer 4-384 on CIFAR-10, the official recipe (its longer version of 400 epochs), batches of
# 128.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.Spikformer', arch='cifar-4-384'), head=dict(num_classes=10))
train_dataloader = dict(batch_size=128)
