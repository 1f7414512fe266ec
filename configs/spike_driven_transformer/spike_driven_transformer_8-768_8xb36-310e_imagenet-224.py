# Spike-driven Transformer V1 8-768 on ImageNet, the official recipe: 8 GPUs with 36 images each.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='8-768'),
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
train_dataloader = dict(batch_size=36, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=20, end=300),
]
auto_scale_lr = dict(enable=False, base_batch_size=288)
