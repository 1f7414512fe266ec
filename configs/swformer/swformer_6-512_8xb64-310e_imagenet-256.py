# SWFormer 6-512 on ImageNet at 256 x 256, the official recipe: 8 GPUs with 64 images each, three
# repetitions. Haar transforms need maps of 16 x 16.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SWFormer', arch='6-512'),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True)),
    # the recipe rounds targets to 0 or 1 at 0.2; here mixed targets stay unchanged
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    ),
)
train_pipeline = [
    {{_base_.load}},
    dict(type='RandomResizedCrop', scale=256, backend='pillow', interpolation='bicubic'),
    {{_base_.flip}},
    dict(type='mmbsa.TimmRandAugment', config='rand-m7-mstd0.5-inc1'),
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='ResizeEdge', scale=292, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=256),
    {{_base_.pack}},
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type='RepeatAugSampler', num_repeats=3),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.0012))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 0.0012, by_epoch=True, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=30, end=300),
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
