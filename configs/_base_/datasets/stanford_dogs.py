# Stanford Dogs (Khosla et al., 2011): 12,000 + 8,580 photos of 120 breeds. mmpretrain has no reader
# of its lists: put the photos into class folders, train/<breed>/*.jpg and test/<breed>/*.jpg.
# Another folder: STANFORD_DOGS_ROOT=/path bash tools/dist_train.sh ...
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
