# Spikingformer 8-768 with Bipolar Self-attention on ImageNet, the recipe of its paper: 4 GPUs, 64
# images in a step.
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/bsa_imagenet_100e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.Spikingformer', arch='8-768', attention=dict(type='mmbsa.BipolarSelfAttention')
    )
)
train_dataloader = dict(batch_size=16)
