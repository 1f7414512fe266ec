"""Schedule for a small network and few recordings: AdamW, 3 epochs of warm-up, cosine to epoch
40."""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=3),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=3, end=40),
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=2)
val_cfg = dict()
test_cfg = dict()
