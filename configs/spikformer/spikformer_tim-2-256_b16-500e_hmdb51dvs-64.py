# Spikformer 2-256 with the temporal interaction module (TIM) on HMDB51-DVS, T = 10, 64 x 64:
# the recipe of CIFAR10-DVS.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/hmdb51_dvs.py',
    '../_base_/schedules/tim_500e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='tim-2-256', num_steps=10),
    head=dict(num_classes=51),
)
