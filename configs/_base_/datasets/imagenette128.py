# Imagenette at 128 x 128: ten classes of ImageNet, 300 + 100 photos each, in class folders
# train/<wnid> and val/<wnid>. To use another folder, set IMAGENETTE_ROOT in the environment.
_base_ = ['./class_folders.py']
# in the order of the class folders (wnids); with these names, an additional or a missing folder is
# an error
classes = (
    'tench',
    'English springer',
    'cassette player',
    'chain saw',
    'church',
    'French horn',
    'garbage truck',
    'gas pump',
    'golf ball',
    'parachute',
)
data_preprocessor = dict(num_classes=10)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=128,
        crop_ratio_range=(0.35, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
folders = dict(
    data_root='{{$IMAGENETTE_ROOT:data/imagenette128}}',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline, **folders))
val_dataloader = dict(batch_size=64, dataset=folders)
test_dataloader = val_dataloader
