# Spikformer 4-384 with a mixture of spiking experts (SEMM) on CIFAR-100, the recipe of the STEP
# benchmark.
_base_ = [
    '../_base_/models/cifar_classifier.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/cifar_400e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.Spikformer', arch='semm-cifar-4-384'), head=dict(num_classes=100)
)
# statistics of CIFAR-100, as in STEP
data_preprocessor = dict(mean=[129.3, 124.1, 112.4], std=[68.2, 65.4, 70.4])
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=400),
]
