# QKFormer 10-768 on ImageNet, the official recipe: 8 GPUs, 24 images each, three batches in a step.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.QKFormer', arch='10-768'))
train_dataloader = dict(batch_size=24)
optim_wrapper = dict(optimizer=dict(lr=6e-4 * 576 / 256), accumulative_counts=3)
auto_scale_lr = dict(base_batch_size=576)
