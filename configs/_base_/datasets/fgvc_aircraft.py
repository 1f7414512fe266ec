# FGVC-Aircraft (Maji et al., 2013): 6,667 + 3,333 photos of 100 aircraft, read by mmpretrain. To
# use another folder, set FGVC_AIRCRAFT_ROOT in the environment.
_base_ = './imagenet.py'
data_root = '{{$FGVC_AIRCRAFT_ROOT:data/fgvc-aircraft-2013b}}'
data_preprocessor = dict(num_classes=100)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FGVCAircraft',
        data_root=data_root,
        split='trainval',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='FGVCAircraft',
        data_root=data_root,
        split='test',
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
