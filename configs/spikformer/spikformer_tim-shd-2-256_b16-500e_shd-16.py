# Spikformer 2-256 with the temporal interaction module (TIM) on SHD, T = 10, maps of 16 x 16:
# the recipe of TIM.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/shd.py',
    '../_base_/schedules/tim_500e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='tim-shd-2-256', num_steps=10),
    head=dict(num_classes=20),
)
