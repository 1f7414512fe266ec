# SpikingResformer-Ti* on CIFAR-100, the official recipe of training from scratch: 600 epochs.
_base_ = './spikingresformer_b128-610e_cifar10-32.py'
model = dict(head=dict(num_classes=100))
data_preprocessor = dict(
    num_classes=100, mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055]
)
dataset = dict(type='mmbsa.CIFAR100', data_root='{{$CIFAR100_ROOT:data/cifar100}}')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
