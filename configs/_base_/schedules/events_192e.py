"""Event schedule for DVS128 Gesture: twice as long as ``events_96e.py``."""

_base_ = './events_96e.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10, end=192),
]
train_cfg = dict(max_epochs=202)
