"""Schedule of Spiking Point Transformer: AdamW, 200 epochs, the learning rate is multiplied by 0.3
every 50 epochs."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
)
param_scheduler = dict(type='StepLR', step_size=50, gamma=0.3, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
