# SGLFormer 8-768 on ImageNet, the official recipe: 8 GPUs, 32 images each, two batches in a step,
# no Mixup or CutMix.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.SGLFormer', arch='8-768'))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(accumulative_counts=2)
