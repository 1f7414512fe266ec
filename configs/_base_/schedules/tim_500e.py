"""Schedule of TIM: AdamW, a learning rate of 5e-3 per 1024 recordings, 5 epochs of warm-up, cosine
to epoch 500."""

_base_ = './events_96e.py'
optim_wrapper = dict(optimizer=dict(lr=5e-3 * 16 / 1024, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=500),
]
train_cfg = dict(max_epochs=500)
custom_hooks = []  # Mixup is not used
