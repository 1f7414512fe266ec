# Spike-driven Transformer V1 8-512 on ImageNet, the official recipe: 8 GPUs with 48 images each;
# 74.57 published.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='8-512'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.3, 0.3]
    ),
)
train_pipeline = [
    {{_base_.load}},
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    {{_base_.flip}},
    dict(type='mmbsa.TimmRandAugment', config='rand-m5-mstd0.5-inc1'),
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='ResizeEdge', scale=236, edge='short', backend='pillow', interpolation='bicubic'),
    {{_base_.center_crop}},
    {{_base_.pack}},
]
train_dataloader = dict(batch_size=48, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=384)
