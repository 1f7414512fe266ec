# E-SpikeFormer m (Spike-driven Transformer V3) on ImageNet, the official recipe: T = 1, D = 4, 8
# GPUs with 256 images each, tested at 224 of 232 pixels.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.ESpikeFormer', arch='m', num_steps=1))
train_dataloader = dict(batch_size=256)
test_pipeline = [
    {{_base_.load}},
    dict(type='ResizeEdge', scale=232, edge='short', backend='pillow', interpolation='bicubic'),
    {{_base_.center_crop}},
    {{_base_.pack}},
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
