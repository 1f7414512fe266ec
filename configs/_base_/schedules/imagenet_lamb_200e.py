"""ImageNet schedule of E-SpikeFormer: LAMB; with 10 epochs of warm-up and 1,024 images also that of
Meta-SpikeFormer.

The learning rate of the recipe is 6e-4 for 256 images; here it is given for the 2,048 images of a
step in the recipe.
"""

optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='mmbsa.Lamb', lr=6e-4 * 2048 / 256, weight_decay=0.05, trust_clip=True),
    # as in timm: no weight decay of biases, norms and other vectors
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
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
        end=200,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# with auto_scale_lr.enable=True the learning rate is proportional to the number of images
auto_scale_lr = dict(enable=False, base_batch_size=2048)
