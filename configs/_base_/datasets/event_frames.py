# Event recordings in class folders as 16 frames of 128 x 128, for classification. A data set adds
# its reader, folder and number of classes; configs with another T or size define their own
# pipelines from load, flip, augment and pack. Each recording gets one of these augmentations, as in
# the recipes (Neuromorphic Data Augmentation, Li et al., 2022); the empty list means no
# augmentation
event_augments = [
    [],
    [dict(type='mmbsa.EventShear', max_shear=0.3)],
    [dict(type='mmbsa.EventTranslate', max_shift=5, direction='horizontal')],
    [dict(type='mmbsa.EventTranslate', max_shift=5, direction='vertical')],
    [dict(type='mmbsa.EventRotate', max_degrees=30)],
    [dict(type='mmbsa.EventCutout', max_size=30)],
]
event_augments_64 = [
    [],
    [dict(type='mmbsa.EventShear', max_shear=0.3)],
    [dict(type='mmbsa.EventTranslate', max_shift=3)],
    [dict(type='mmbsa.EventRotate', max_degrees=30)],
    [dict(type='mmbsa.EventCutout', max_size=15)],
]  # for 64 x 64
dataset_type = 'mmbsa.EventDataset'
cache_dir = (
    # folder of computed frames; None computes them every time
    '{{$EVENT_CACHE:work_dirs/event_frames}}'
)
num_frames = 16
size = (128, 128)  # the size of the event presets
data_preprocessor = dict(type='mmbsa.EventDataPreprocessor')
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=num_frames,
    by='number',
    size=size,
    cache_dir=cache_dir,
)
flip = dict(type='mmbsa.EventFlip', direction='horizontal', prob=0.5)
augment = dict(type='RandomChoice', transforms=event_augments)
pack = dict(type='PackInputs')
train_pipeline = [load, flip, augment, pack]
test_pipeline = [load, pack]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
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
        split='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
