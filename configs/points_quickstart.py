# A small Spiking Point Transformer that learns ten kinds of generated solids in minutes on two CPU
# cores:
#   bash tools/dist_train.sh configs/points_quickstart.py 2
# The clouds are noisy, partly hidden and turned around the vertical axis; nothing is downloaded.
_base_ = ['./_base_/models/point_transformer.py', './_base_/points_runtime.py']
model = dict(
    backbone=dict(
        in_channels=3,
        base_channels=32,
        embed_dims=48,
        num_neighbors=8,
        depths=(1, 1, 1),
        offset_gain=3.0,
        encoder=dict(type='mmbsa.PointQueueEncoder', num_steps=2, num_samples=64),
    ),
    head=dict(num_classes=10, in_channels=128),
)

dataset_type = 'mmbsa.PointSolids'
train_pipeline = [
    dict(type='mmbsa.RotatePoints', axis='z'),
    dict(type='mmbsa.ScalePoints'),
    dict(type='mmbsa.PackPoints'),
]
train_dataloader = dict(
    batch_size=20,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        split='train',
        num_points=128,
        rotation='vertical',
        length=2000,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        split='val',
        num_points=128,
        rotation='vertical',
        length=500,
        pipeline=[dict(type='mmbsa.PackPoints')],
    ),
)
test_dataloader = val_dataloader

max_epochs = 9
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.05,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=1,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=3)
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=3))
randomness = dict(seed=0)
