# E-SpikeFormer 19M on HAR-DVS, T = 8, 224 x 224. The official recipe is not published; this is the
# recipe of CIFAR10-DVS.
_base_ = [
    '../_base_/models/event_classifier.py',
    '../_base_/datasets/hardvs.py',
    '../_base_/schedules/events_96e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.ESpikeFormer', arch='hardvs-19m', num_steps=8),
    head=dict(num_classes=300),
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
