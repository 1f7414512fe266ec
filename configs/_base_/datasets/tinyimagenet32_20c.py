# Twenty classes of Tiny-ImageNet at 32 x 32: 250 + 50 photos each, in class folders train/<wnid>
# and val/<wnid>. To use another folder, set TINYIMAGENET32_ROOT in the environment.
dataset_type = 'CustomDataset'
data_root = '{{$TINYIMAGENET32_ROOT:data/tinyimagenet32_20c}}'
# in the order of the class folders (wnids); with these names, an additional or a missing folder is
# an error
classes = (
    'goldfish',
    'black stork',
    'dugong',
    'Labrador retriever',
    'Egyptian cat',
    'cougar',
    'lion',
    'bee',
    'mantis',
    'sulphur butterfly',
    'ox',
    'orangutan',
    'cash machine',
    'chest',
    'oboe',
    'police van',
    'pop bottle',
    'spider web',
    'sports car',
    'guacamole',
)
data_preprocessor = dict(
    num_classes=20, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='val',
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
