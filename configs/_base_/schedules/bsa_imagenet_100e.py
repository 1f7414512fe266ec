"""Schedule of the BSA paper for Spikingformer on ImageNet (table 5): AdamW, 100 epochs, 64 images.

The learning rate of 7e-6 is the value in the table. It is suited to training from pre-trained
weights (``load_from``), which the table does not mention; for training from scratch it is far too
small.
"""

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=7e-6, betas=(0.9, 0.999), weight_decay=0.05),
    # as in timm: no weight decay of biases, norms and other vectors
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=5,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=64)
