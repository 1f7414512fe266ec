"""Generated scenes of one moving target in front of moving clutter; nothing is downloaded."""

crop_sizes = (48, 96)
num_steps = 1
train_pipeline = [
    dict(type='LoadTrackPair'),
    dict(type='CropTrackPair', size=crop_sizes),
    dict(type='PackTrackInputs'),
]
test_pipeline = [dict(type='PackTrackInputs')]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,  # each process draws a scene only once
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MovingTargets',
        length=128,
        split='train',
        num_steps=num_steps,
        samples_per_epoch=1600,
        max_gap=60,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MovingTargets',
        length=16,
        split='val',
        num_steps=num_steps,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MovingTargets',
        length=32,
        split='test',
        num_steps=num_steps,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='TrackingMetric')
test_evaluator = val_evaluator
