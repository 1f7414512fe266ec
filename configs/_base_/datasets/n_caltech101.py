# N-Caltech101 (Orchard et al., 2015): 8,709 recordings of at most 180 x 240 in 101 classes, the
# first 90 % of each class train. Another folder: N_CALTECH101_ROOT=/path bash tools/dist_train.sh
# ... Integrated at 128 x 128, the size that the event presets of the families are made for.
# one of these per recording, as in the recipes (Neuromorphic Data Augmentation, Li et al., 2022);
# the empty list does nothing
event_augments = [
    [],
    [dict(type='mmbsa.EventShear', max_shear=0.3)],
    [dict(type='mmbsa.EventTranslate', max_shift=5, direction='horizontal')],
    [dict(type='mmbsa.EventTranslate', max_shift=5, direction='vertical')],
    [dict(type='mmbsa.EventRotate', max_degrees=30)],
    [dict(type='mmbsa.EventCutout', max_size=30)],
]
dataset_type = 'mmbsa.EventDataset'
data_root = '{{$N_CALTECH101_ROOT:data/n-caltech101}}'
cache_dir = (
    '{{$EVENT_CACHE:work_dirs/event_frames}}'  # integrated frames; None integrates every time
)
num_frames = 16
data_preprocessor = dict(type='mmbsa.EventDataPreprocessor', num_classes=101)
train_pipeline = [
    dict(
        type='mmbsa.LoadEventFrames',
        num_frames=num_frames,
        by='number',
        size=(128, 128),
        cache_dir=cache_dir,
    ),
    dict(type='mmbsa.EventFlip', direction='horizontal', prob=0.5),
    dict(type='RandomChoice', transforms=event_augments),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(
        type='mmbsa.LoadEventFrames',
        num_frames=num_frames,
        by='number',
        size=(128, 128),
        cache_dir=cache_dir,
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        reader='NCaltech101',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        reader='NCaltech101',
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
