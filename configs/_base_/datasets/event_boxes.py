# Prophesee Gen1: cars and pedestrians in recordings of 304 x 240 pixels. The folder with train, val
# and test: GEN1_ROOT in the environment, data/gen1 if it is not set. A sample is the 200 ms before
# a label, as 4 frames of counts.
dataset_type = 'mmbsa.EventBoxes'
data_root = '{{$GEN1_ROOT:data/gen1}}'
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
train_pipeline = [
    dict(type='mmbsa.LoadEventWindow', num_frames=4, max_count=10),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmbsa.LoadEventWindow', num_frames=4, max_count=10),
    dict(type='Resize', scale_factor=1.0),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=keys),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        sensor='gen1',
        data_prefix=dict(img_path='train'),
        filter_empty=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        sensor='gen1',
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        sensor='gen1',
        data_prefix=dict(img_path='test'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='CocoMetric', metric='bbox')  # ground truth from the samples
test_evaluator = val_evaluator
