# N-MNIST (Orchard et al., 2015): saccades over MNIST at 34 x 34, as distributed:
# Train/<digit>/*.bin and Test/<digit>/*.bin. To use another folder, set NMNIST_ROOT in the
# environment. The default folder is a sample: 40 + about 10 recordings per digit. Small recordings
# need no cache.
dataset_type = 'mmbsa.EventDataset'
data_root = '{{$NMNIST_ROOT:data/nmnist}}'
num_frames = 8
data_preprocessor = dict(type='mmbsa.EventDataPreprocessor', num_classes=10)
train_pipeline = [
    dict(type='mmbsa.LoadEventFrames', num_frames=num_frames, by='number'),
    dict(type='mmbsa.EventTranslate', max_shift=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='mmbsa.LoadEventFrames', num_frames=num_frames, by='number'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        reader='NMNIST',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        reader='NMNIST',
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
