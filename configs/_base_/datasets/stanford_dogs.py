# Stanford Dogs (Khosla et al., 2011): 12,000 + 8,580 photos of 120 breeds. mmpretrain cannot read
# its lists: put the photos into class folders, train/<breed>/*.jpg and test/<breed>/*.jpg. To use
# another folder, set STANFORD_DOGS_ROOT in the environment.
_base_ = './imagenet.py'
data_root = '{{$STANFORD_DOGS_ROOT:data/stanford_dogs}}'
data_preprocessor = dict(num_classes=120)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='test',
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
