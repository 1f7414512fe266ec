"""Schedule of SDTrack with one drop of the learning rate at epoch 40 of 50."""

_base_ = './sdtrack_100e.py'
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=50, milestones=[40], gamma=0.1)
]
train_cfg = dict(max_epochs=50, val_interval=50)
