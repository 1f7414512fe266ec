# Spikingformer 2-256 on CIFAR10-DVS, T = 16, the official recipe; published accuracy 81.3 %.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/cifar10_dvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.Spikingformer', arch='dvs-2-256'), head=dict(num_classes=10))
