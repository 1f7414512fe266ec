# SpikingResformer-S on ImageNet, the official recipe: 32 images per GPU.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_m7.py',
    '../_base_/schedules/imagenet_320e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikingResformer', arch='s'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    ),
)
train_dataloader = dict(batch_size=32)
