# CIFAR-100 as distributed: python or binary version, folder or archive. Another folder:
# CIFAR100_ROOT=/path ... Augmentation as in the recipes of Spikformer, Spikingformer and QKFormer:
# timm's rand-m9-n1-mstd0.4-inc1, flips, constant erasing and no crops (they ask for
# RandomResizedCrop with scale and ratio 1, which keeps a 32 x 32 photo as it is).
dataset_type = 'mmbsa.CIFAR100'
data_root = '{{$CIFAR100_ROOT:data/cifar100}}'
# statistics of CIFAR-10, RGB; the recipes of the CIFAR families take them for CIFAR-100 too
mean, std = [125.307, 122.961, 113.8575], [62.985, 62.0925, 66.708]
data_preprocessor = dict(num_classes=100, mean=mean, std=std, to_rgb=False)
train_pipeline = [
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=1,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.4,
        hparams=dict(pad_val=[round(x) for x in mean], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]
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
