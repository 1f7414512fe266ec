# CIFAR-10 as distributed: python or binary version, folder or archive. To use another folder, set
# CIFAR10_ROOT in the environment. Augmentation as in the recipes of Spikformer, Spikingformer and
# QKFormer: RandAugment, flips, constant erasing and no crops (the recipes have RandomResizedCrop
# with scale and ratio 1, which does not change a 32 x 32 photo).
dataset_type = 'mmbsa.CIFAR10'
data_root = '{{$CIFAR10_ROOT:data/cifar10}}'
# statistics of CIFAR-10, RGB; photos are read as RGB
mean, std = [125.307, 122.961, 113.8575], [62.985, 62.0925, 66.708]
data_preprocessor = dict(num_classes=10, mean=mean, std=std, to_rgb=False)
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
pack = dict(type='PackInputs')
train_pipeline = [
    flip,
    dict(
        type='mmbsa.TimmRandAugment',
        config='rand-m9-n1-mstd0.4-inc1',
        mean=mean,
        channel_order='rgb',
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
    ),
    pack,
]
test_pipeline = [pack]
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='test', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
