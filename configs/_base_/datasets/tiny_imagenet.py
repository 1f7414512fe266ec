# Tiny-ImageNet-200 as in tiny-imagenet-200.zip. To use another folder, set TINY_IMAGENET_ROOT in
# the environment.
dataset_type = 'mmbsa.TinyImageNet'
data_root = '{{$TINY_IMAGENET_ROOT:data/tiny-imagenet-200}}'
data_preprocessor = dict(
    num_classes=200,
    mean=[122.4786, 114.2755, 101.3963],
    std=[70.4924, 68.5679, 71.8127],
    to_rgb=True,
)
bgr_mean = data_preprocessor['mean'][::-1]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=64, padding=8),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='mmbsa.TimmRandAugment', config='rand-m9-mstd0.5-inc1', mean=data_preprocessor['mean']
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='val', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
