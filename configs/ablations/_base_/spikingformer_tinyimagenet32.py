"""The small budget of the ablations: a narrow Spikingformer on twenty classes of photos, one or two
minutes on one CPU core.

Three early pools and few tokens (4 x 4) allow the most training in this time; channels that are
multiples of 16 are fast on a CPU. In three epochs crops lower the accuracy, so photos are only
flipped.
"""

_base_ = ['../../_base_/datasets/tinyimagenet32_20c.py', '../../_base_/cls_runtime.py']
model = dict(
    type='mmbsa.SpikingImageClassifier',
    backbone=dict(
        type='mmbsa.Spikingformer',
        arch=dict(embed_dims=128, depth=2, num_heads=4, pooling='1110'),
        num_steps=2,
        out_indices=(-1,),
    ),
    head=dict(
        type='mmbsa.SpikingClsHead',
        num_classes=20,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
)

max_iters = 440
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=44),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=44, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=110, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
