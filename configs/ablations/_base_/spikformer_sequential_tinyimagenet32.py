"""The small budget for sequences: the twenty classes of photos as sequences of 1,024 pixels with
three channels."""

_base_ = './spikingformer_tinyimagenet32.py'
model = dict(
    backbone=dict(
        type='mmbsa.Spikformer',
        arch=dict(embed_dims=64, depth=2, num_heads=4, pooling='1111', tokens=16),
        stem='sequence',
    )
)
to_sequence = dict(type='mmbsa.ToSequence', order='pixels', permutation_seed=None)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    to_sequence,
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), to_sequence, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
