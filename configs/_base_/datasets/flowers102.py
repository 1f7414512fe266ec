# Oxford 102 Flowers (Nilsback and Zisserman, 2008): 2,040 + 6,149 photos, read by mmpretrain. To
# use another folder, set FLOWERS102_ROOT in the environment.
_base_ = './imagenet.py'
data_root = '{{$FLOWERS102_ROOT:data/flowers102}}'
data_preprocessor = dict(num_classes=102)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Flowers102',
        data_root=data_root,
        split='trainval',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Flowers102',
        data_root=data_root,
        split='test',
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
