"""DVS128 Gesture of SpikingResformer: 16 frames of 64 x 64, and the sum of the polarities as a
third channel."""

_base_ = './dvs_gesture.py'
data_preprocessor = dict(add_sum=True)
event_augments = [
    [],
    [dict(type='mmbsa.EventShear', max_shear=0.3)],
    [dict(type='mmbsa.EventTranslate', max_shift=3)],
    [dict(type='mmbsa.EventRotate', max_degrees=30)],
    [dict(type='mmbsa.EventCutout', max_size=15)],
]
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=16,
    by='number',
    size=(64, 64),
    cache_dir='{{$EVENT_CACHE:work_dirs/event_frames}}',
)
train_pipeline = [
    load,
    dict(type='RandomChoice', transforms=event_augments),
    dict(type='PackInputs'),
]
test_pipeline = [load, dict(type='PackInputs')]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
