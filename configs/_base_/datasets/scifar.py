# Sequential CIFAR-10: a photo as 1,024 steps of three channels, (B, 3, 1, 1024); order='planes'
# makes 3,072 steps of one. To use another folder, set CIFAR10_ROOT in the environment.
dataset_type = 'mmbsa.CIFAR10'
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'
data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.8575], std=[62.985, 62.0925, 66.708]
)
train_pipeline = [
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmbsa.ToSequence', order='pixels'),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline[1:]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        download=False,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root=data_root, split='test', download=False, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
