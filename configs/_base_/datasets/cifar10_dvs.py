# CIFAR10-DVS (Li et al., 2017): 1,000 recordings of 128 x 128 in each of 10 classes, the first 90 %
# of each class train. To use another folder, set CIFAR10_DVS_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$CIFAR10_DVS_ROOT:data/cifar10-dvs}}'
data_preprocessor = dict(num_classes=10)
dataset = dict(reader='CIFAR10DVS', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
