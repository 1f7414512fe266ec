# Spikformer 8-768 with a mixture of spiking experts (SEMM) on ImageNet, the recipe of the STEP
# benchmark: 18 images per GPU.
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet_no_crop.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.Spikformer', arch='semm-8-768'))
train_dataloader = dict(batch_size=18)
