# SpikingResformer-L on ImageNet, the official recipe: 16 images per GPU, synchronised batch norms.
_base_ = [
    '../_base_/models/classifier.py', '../_base_/datasets/imagenet.py', '../_base_/schedules/imagenet_320e.py',
    '../_base_/cls_runtime.py'
]
model = dict(
    backbone=dict(type='mmbsa.SpikingResformer', arch='l', norm_cfg=dict(type='SyncBN')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
