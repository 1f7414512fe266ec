"""The medium budget of the ablations: a small Spikingformer on the whole of CIFAR-10.

4,500 iterations of 64 photos (5.8 epochs) take about 40 minutes on one CPU core.
"""

_base_ = ['../../_base_/datasets/cifar10_photos.py', '../../_base_/cls_runtime.py']
model = dict(
    type='mmbsa.SpikingImageClassifier',
    backbone=dict(
        type='mmbsa.Spikingformer',
        arch=dict(embed_dims=128, depth=2, num_heads=4, pooling='1100'),
        num_steps=2,
        out_indices=(-1,),
    ),
    head=dict(type='mmbsa.SpikingClsHead', num_classes=10, loss=dict(type='CrossEntropyLoss')),
)

max_iters = 4500
train_dataloader = dict(
    num_workers=0, persistent_workers=False, sampler=dict(type='InfiniteSampler', shuffle=True)
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=200, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=100, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=250, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
