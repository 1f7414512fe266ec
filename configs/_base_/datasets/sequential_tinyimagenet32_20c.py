# Sequential photos: the twenty classes of tinyimagenet32_20c as 1,024 steps of three channels, (B,
# 3, 1, 1024).
_base_ = ['./tinyimagenet32_20c.py']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmbsa.ToSequence', order='pixels'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmbsa.ToSequence', order='pixels'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
