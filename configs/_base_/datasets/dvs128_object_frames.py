# Event frames of 8 objects as grey images: 0 is an off event, 128 no event, 255 an on event; two
# sessions, train/<object> and test/<object>. To use another folder, set DVS128_OBJECTS_ROOT in the
# environment.
dataset_type = 'CustomDataset'
data_root = '{{$DVS128_OBJECTS_ROOT:data/dvs128_object_frames}}'
classes = ('box', 'cutter', 'mouse', 'mug', 'pencil', 'phone', 'scissors', 'stapler')
data_preprocessor = dict(num_classes=8)
load = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='mmbsa.EventPictureToChannels', off=0, none=128, on=255),
]
train_pipeline = [
    *load,
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=128, padding=12),
    dict(type='PackInputs'),
]
test_pipeline = [*load, dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=32,
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
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='test',
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
