# SpikingResformer-Ti on ImageNet, the official recipe: 32 images per GPU, no
# erasing, tested at 224 of 236 pixels.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_320e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikingResformer', arch='ti'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    ),
)
train_pipeline = [
    {{_base_.load}},
    {{_base_.crop}},
    {{_base_.flip}},
    dict(type='mmbsa.TimmRandAugment', config='rand-m7-mstd0.5-inc1'),
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='ResizeEdge', scale=236, edge='short', backend='pillow', interpolation='bicubic'),
    {{_base_.center_crop}},
    {{_base_.pack}},
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
