# CUB-200-2011 (Wah et al., 2011): 5,994 + 5,794 photos of 200 birds, read by mmpretrain. To use
# another folder, set CUB_ROOT in the environment.
_base_ = './imagenet.py'
data_root = '{{$CUB_ROOT:data/CUB_200_2011}}'
data_preprocessor = dict(num_classes=200)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CUB',
        data_root=data_root,
        split='train',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CUB',
        data_root=data_root,
        split='test',
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
