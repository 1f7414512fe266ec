# Spikingformer 8-768 on ImageNet, the official recipe: 8 GPUs with 36 images each; published
# accuracy 75.85 %.
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet_no_crop.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.Spikingformer', arch='8-768'))
train_dataloader = dict(batch_size=36)
auto_scale_lr = dict(enable=False, base_batch_size=288)
