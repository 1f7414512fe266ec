# Cars, people and signs in street scenes that are drawn during training, with boxes and masks in
# COCO's format; nothing is downloaded.
dataset_type = 'mmbsa.DrawnInstances'
scene_size = (96, 128)  # height, width
train_pipeline = [
    dict(type='mmbsa.DrawScene', outputs=('image', 'instances')),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
val_pipeline = [
    dict(type='mmbsa.DrawScene', outputs=('image', 'instances')),
    dict(type='Resize', scale=scene_size[::-1], keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
# used by tools/infer.py and mmdet's inferencers for images of the user
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scene_size[::-1], keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
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
    dataset=dict(
        type=dataset_type,
        split='val',
        length=96,
        size=scene_size,
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        split='test',
        length=96,
        size=scene_size,
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(
    type='CocoMetric', metric=['bbox', 'segm'], format_only=False
)  # ground truth from the samples
test_evaluator = val_evaluator
