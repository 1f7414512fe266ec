"""Schedule for transfer to a small data set: AdamW, 5 epochs of warm-up, cosine to epoch 100, per
iteration."""

_base_ = './imagenet_200e.py'
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=64)
