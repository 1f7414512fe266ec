# Spikformer 4-384 on ES-ImageNet, T = 8, as in STEP (12 heads); the schedule is that of
# CIFAR10-DVS, because none is published.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/es_imagenet.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.Spikformer',
        arch=dict(embed_dims=384, depth=4, num_heads=12, in_channels=2),
        num_steps=8,
    ),
    head=dict(num_classes=1000),
)
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=8,
    by='number',
    size=(224, 224),
    cache_dir={{_base_.cache_dir}},
)
train_pipeline = [load, {{_base_.flip}}, {{_base_.pack}}]
test_pipeline = [load, {{_base_.pack}}]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
