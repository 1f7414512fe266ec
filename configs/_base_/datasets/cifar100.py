# CIFAR-100 as distributed: python or binary version, folder or archive. To use another folder, set
# CIFAR100_ROOT in the environment. Augmentation as for CIFAR-10, and its statistics: the recipes of
# the CIFAR families use them for CIFAR-100 too.
_base_ = './cifar10.py'
data_preprocessor = dict(num_classes=100)
dataset = dict(type='mmbsa.CIFAR100', data_root='{{$CIFAR100_ROOT:data/cifar100}}')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
