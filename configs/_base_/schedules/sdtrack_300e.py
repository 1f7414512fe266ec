"""SDTrack's schedule: AdamW, the backbone at a tenth of the rate, one drop at epoch 240 of 300;
weight decay on everything.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=300, milestones=[240], gamma=0.1)
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=300)
val_cfg = dict()
test_cfg = dict()
