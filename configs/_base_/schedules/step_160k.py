"""ADE20K schedule of the STEP benchmark: that of Spike-driven Transformer V3 with mixed precision
and batches of 8 images."""

_base_ = './schedule_160k.py'
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=2.0))),
)
train_cfg = dict(val_interval=5000)
