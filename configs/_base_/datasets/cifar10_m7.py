"""CIFAR-10 of SpikingResformer: milder RandAugment, no erasing."""

_base_ = './cifar10.py'
data_preprocessor = dict(std=[51.5865, 50.847, 51.255])  # as the official code has them
train_pipeline = [
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=1,
        total_level=10,
        magnitude_level=7,
        magnitude_std=0.5,
        hparams=dict(pad_val=[125, 123, 114], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
