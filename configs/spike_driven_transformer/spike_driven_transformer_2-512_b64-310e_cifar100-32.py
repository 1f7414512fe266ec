# Spike-driven Transformer V1 2-512 on CIFAR-100, the recipe of CIFAR-10 with the statistics of
# CIFAR-100; the fill value of augmentations is that of CIFAR-10.
_base_ = './spike_driven_transformer_2-512_b64-310e_cifar10-32.py'
model = dict(head=dict(num_classes=100))
data_preprocessor = dict(
    num_classes=100, mean=[129.3105, 124.1085, 112.404], std=[68.2125, 65.4075, 70.4055]
)
dataset = dict(type='mmbsa.CIFAR100', data_root='{{$CIFAR100_ROOT:data/cifar100}}')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
