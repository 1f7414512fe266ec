"""Schedule of SDTrack with one drop of the learning rate at epoch 240 of 300."""

_base_ = './sdtrack_100e.py'
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=300, milestones=[240], gamma=0.1)
]
train_cfg = dict(max_epochs=300, val_interval=300)
