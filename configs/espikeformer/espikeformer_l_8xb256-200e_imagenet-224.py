# E-SpikeFormer l (Spike-driven Transformer V3) on ImageNet, the official recipe: T = 1, D = 4, 8
# GPUs with 256 images each.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_232.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.ESpikeFormer', arch='l', num_steps=1))
train_dataloader = dict(batch_size=256)
