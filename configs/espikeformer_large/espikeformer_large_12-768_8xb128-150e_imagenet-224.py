# E-SpikeFormer large, 171M, on ImageNet: the official fine-tuning of weights that were pre-trained
# as a masked autoencoder (model.backbone.init_cfg), 8 GPUs with 128 images each; layer-wise rates,
# stochastic depth, moving average.
_base_ = [
    '../_base_/models/imagenet_classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.ESpikeFormerLarge',
        arch='12-768',
        num_steps=1,
        layer_scale=1e-6,
        drop_path_rate=0.1,
    )
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(lr=6e-4 * 1024 / 256),
    constructor='LearningRateDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        layer_decay_rate=0.75,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
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
        end=150,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=150)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL')]
