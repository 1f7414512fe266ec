# Spikformer 2-256 with the temporal interaction module (TIM) on N-Caltech101, T = 10, 64 x 64, the
# official recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/n_caltech101.py',
    '../_base_/schedules/tim_500e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='tim-2-256', num_steps=10),
    head=dict(num_classes=101),
)
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=10,
    by='number',
    size=(64, 64),
    cache_dir={{_base_.cache_dir}},
)
train_pipeline = [
    load,
    {{_base_.flip}},
    {{_base_.pack}},
]
test_pipeline = [load, {{_base_.pack}}]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
