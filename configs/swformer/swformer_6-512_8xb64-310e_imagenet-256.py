# SWFormer 6-512 on ImageNet at 256 x 256, the official recipe: 8 GPUs with 64 images each.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_256_m7.py',
    '../_base_/schedules/imagenet_lamb_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SWFormer', arch='6-512'),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True)
    ),  # of targets that the recipe
    # makes 0 or 1 at 0.2; mixed ones stay as they are here
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    ),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.0012))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 0.0012, by_epoch=True, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=30, end=300),
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
