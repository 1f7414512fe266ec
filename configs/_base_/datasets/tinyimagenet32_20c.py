# Twenty classes of Tiny-ImageNet at 32 x 32: 250 + 50 photos each, in class folders train/<wnid>
# and val/<wnid>. To use another folder, set TINYIMAGENET32_ROOT in the environment.
_base_ = ['./class_folders.py']
# in the order of the class folders (wnids); with these names, an additional or a missing folder is
# an error
classes = (
    'goldfish',
    'black stork',
    'dugong',
    'Labrador retriever',
    'Egyptian cat',
    'cougar',
    'lion',
    'bee',
    'mantis',
    'sulphur butterfly',
    'ox',
    'orangutan',
    'cash machine',
    'chest',
    'oboe',
    'police van',
    'pop bottle',
    'spider web',
    'sports car',
    'guacamole',
)
data_preprocessor = dict(num_classes=20)
folders = dict(
    data_root='{{$TINYIMAGENET32_ROOT:data/tinyimagenet32_20c}}',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(dataset=folders)
val_dataloader = dict(dataset=folders)
test_dataloader = val_dataloader
