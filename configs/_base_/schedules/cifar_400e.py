"""Common CIFAR schedule of spiking transformers: AdamW, 20 epochs of warm-up, cosine to epoch 400,
10 epochs at the end.

Mixup ends at epoch 200. timm's cosine starts at epoch 0, during the warm-up; here it starts after
the warm-up. The learning rates differ by less than one percent.
"""

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.06),
    # as in timm: no weight decay of biases, norms and other vectors
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=True, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=400),
]
train_cfg = dict(by_epoch=True, max_epochs=410, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=201, batch_augments=None)])
]
