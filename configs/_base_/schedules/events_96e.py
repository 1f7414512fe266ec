"""Event schedule of Spikformer, Spikingformer and QKFormer: AdamW, 10 epochs of warm-up, cosine to
96, 10 at the end.

Mixup ends at epoch 75.
"""

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.06),
    # as in timm: no weight decay of biases, norms and other vectors
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10, end=96),
]
train_cfg = dict(by_epoch=True, max_epochs=106, val_interval=1)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=76, batch_augments=None)])
]
