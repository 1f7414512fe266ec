"""N-Caltech101 of the temporal interaction module (TIM): 10 frames of 64 x 64."""

_base_ = './n_caltech101.py'
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=10,
    by='number',
    size=(64, 64),
    cache_dir='{{$EVENT_CACHE:work_dirs/event_frames}}',
)
train_pipeline = [
    load,
    dict(type='mmbsa.EventFlip', direction='horizontal', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [load, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
