# Sequential MNIST: a digit as 784 steps of one pixel, (B, 1, 1, 784). To use another folder, set
# MNIST_ROOT in the environment. The folder contains the four unpacked files
# train-images-idx3-ubyte, ...
dataset_type = 'MNIST'
data_root = '{{$MNIST_ROOT:data/mnist}}'
data_preprocessor = dict(num_classes=10, mean=[33.3285], std=[78.5655])
train_pipeline = [dict(type='mmbsa.ToSequence', order='pixels'), dict(type='PackInputs')]
test_pipeline = train_pipeline
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
    # mmpretrain's MNIST selects its files by test_mode, not by split
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        test_mode=True,
        download=False,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
