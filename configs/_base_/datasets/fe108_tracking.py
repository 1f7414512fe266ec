"""FE108 with the training and test pipelines of SDTrack.

To use another folder, set FE108_ROOT in the environment.
"""

layout = 'FE108'
data_root = '{{$FE108_ROOT:data/fe108}}'
# folder of the evaluation toolkit's annotations, for attributes (the target is never absent)
toolkit = None
num_steps = 1
# Text files with the names of the sequences, one per line; None: all annotated folders, or the list
# of the benchmark. The published results use 75 and 32 sequences.
train_sequences = None
test_sequences = None
train_pipeline = [
    dict(type='LoadTrackPair'),
    dict(
        type='CropTrackPair',
        size=(128, 256),
        factor=(2.0, 4.0),
        centre_jitter=(0.0, 3.0),
        scale_jitter=(0.0, 0.25),
        official_quirks=True,
    ),
    dict(type='PackTrackInputs'),
]
test_pipeline = [dict(type='PackTrackInputs')]
train_dataloader = dict(
    batch_size=42,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='TrackingDataset',
        layout=layout,
        data_root=data_root,
        split='train',
        sequences=train_sequences,
        num_steps=num_steps,
        samples_per_epoch=60000,
        max_gap=200,
        pipeline=train_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='TrackingDataset',
        layout=layout,
        data_root=data_root,
        split='test',
        sequences=test_sequences,
        num_steps=num_steps,
        toolkit=toolkit,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_dataloader = test_dataloader  # official trainings have no validation
val_evaluator = dict(type='TrackingMetric', rules='toolkit', truncate=True)
test_evaluator = val_evaluator
