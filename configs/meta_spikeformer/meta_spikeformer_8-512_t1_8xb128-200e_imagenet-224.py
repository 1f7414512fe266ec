# Meta-SpikeFormer (Spike-driven Transformer V2) 8-512 on ImageNet, the first half of the official
# recipe: T = 1, 8 GPUs with 128 images each.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(backbone=dict(type='mmbsa.MetaSpikeFormer', arch='8-512', num_steps=1))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=6e-4 * 1024 / 256))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=200,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=1024)
