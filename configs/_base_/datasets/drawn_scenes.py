# Street scenes that are drawn during training; nothing is downloaded. After the first step the
# pipeline is that of ADE20K, at a fifth of its image size.
dataset_type = 'mmbsa.DrawnScenes'
scene_size = (96, 128)  # height, width
crop_size = (96, 96)
train_pipeline = [
    dict(type='mmbsa.DrawScene'),
    dict(type='RandomResize', scale=scene_size[::-1], ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
val_pipeline = [
    dict(type='mmbsa.DrawScene'),
    dict(type='PackSegInputs'),
]
# used by tools/infer.py and mmseg's inferencers for images of the user
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scene_size[::-1], keep_ratio=True),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='mmbsa.DrawScene', outputs='image'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale_factor=ratio, keep_ratio=True)
                for ratio in (0.75, 1.0, 1.25)
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='mmbsa.DrawScene', outputs='labels')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, split='train', length=10000, size=scene_size, pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, split='val', length=64, size=scene_size, pipeline=val_pipeline),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, split='test', length=64, size=scene_size, pipeline=val_pipeline
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
