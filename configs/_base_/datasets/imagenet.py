# ImageNet-1k in class folders: train/<wnid>/*, val/<wnid>/* (or val/* with meta/val.txt). To use
# another folder, set IMAGENET_ROOT in the environment. Augmentation of most recipes: RandAugment,
# flips, random erasing; mixup and cutmix are in the config of the model. Configs with another
# RandAugment, crop or size define their own pipelines from load, crop, flip and pack.
dataset_type = 'ImageNet'
data_root = '{{$IMAGENET_ROOT:data/imagenet}}'
data_preprocessor = dict(
    num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
bgr_mean, bgr_std = data_preprocessor['mean'][::-1], data_preprocessor['std'][::-1]
load = dict(type='LoadImageFromFile')
crop = dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic')
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
center_crop = dict(type='CenterCrop', crop_size=224)
pack = dict(type='PackInputs')
train_pipeline = [
    load,
    crop,
    flip,
    dict(type='mmbsa.TimmRandAugment', config='rand-m9-mstd0.5-inc1'),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
        fill_std=bgr_std,
    ),
    pack,
]
test_pipeline = [
    load,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    center_crop,
    pack,
]
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
