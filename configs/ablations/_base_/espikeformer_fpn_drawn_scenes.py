"""The FPN head with the backbone, data and schedule of the small Spike2Former."""

_base_ = [
    '../../_base_/models/espikeformer_tiny_fpn.py',
    '../../_base_/datasets/drawn_scenes.py',
    '../../_base_/schedules/schedule_small.py',
    '../../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(96, 96)), decode_head=dict(num_classes=7))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
randomness = dict(seed=0)
