# Event recordings as 10 frames of 64 x 64, flipped in training: the recipe of TIM.
_base_ = './event_frames.py'
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=10,
    by='number',
    size=(64, 64),
    cache_dir={{_base_.cache_dir}},
)
train_pipeline = [load, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [load, {{_base_.pack}}]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
