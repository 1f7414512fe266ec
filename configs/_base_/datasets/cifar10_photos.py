# CIFAR-10 as image files: 50,000 + 10,000 photos in class folders train/<class> and test/<class>.
# To use another folder, set CIFAR10_PHOTOS_ROOT in the environment.
_base_ = ['./class_folders.py']
classes = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255]
)
folders = dict(
    data_root='{{$CIFAR10_PHOTOS_ROOT:data/cifar10_jpeg}}',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(dataset=folders)
val_dataloader = dict(batch_size=250, dataset=dict(data_prefix='test', **folders))
test_dataloader = val_dataloader
