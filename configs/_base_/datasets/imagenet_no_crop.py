"""ImageNet with the pipelines of Spikformer and Spikingformer: no crops (whole photos with a small
change of the aspect ratio), constant erasing, no margin in testing."""

_base_ = './imagenet.py'
train_pipeline = [
    {{_base_.load}},
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(1.0, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    {{_base_.flip}},
    dict(type='mmbsa.TimmRandAugment', config='rand-m9-mstd0.5-inc1'),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color={{_base_.bgr_mean}},
    ),
    {{_base_.pack}},
]
test_pipeline = [
    {{_base_.load}},
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    {{_base_.center_crop}},
    {{_base_.pack}},
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
