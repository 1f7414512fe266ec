# A small event tracker with Bipolar Self-attention that learns generated scenes in minutes on two
# CPU cores: bash tools/dist_train.sh configs/bsa_tracking_quickstart.py 2
_base_ = ['./_base_/datasets/moving_targets.py', './_base_/track_runtime.py']
model = dict(
    type='SDTrack',
    data_preprocessor=dict(type='TrackDataPreprocessor', mean=[0.0] * 3, std=[60.0] * 3),
    backbone=dict(
        type='ESpikeFormer',
        arch=dict(
            embed_dims=(8, 16, 64, 96), depths=(2, 1), num_heads=4, mlp_ratio=4, with_conv=False
        ),
        attention=dict(type='BipolarSelfAttention'),
        num_steps=1,
    ),
    head=dict(type='CentreHead', channels=64),
    # the Hann window keeps the track at the target when a similar object crosses the crop
    window=True,
    crops=dict(template_size=48, search_size=96, template_factor=1.5, search_factor=3.0, margin=5),
)
# The target moves by less than its side per frame, so the crops are smaller than those of the
# benchmarks. Large jitter of the scale makes the network measure the target's size: a network that
# always predicts the same size makes the box grow or shrink from frame to frame.
train_pipeline = [
    dict(type='LoadTrackPair'),
    dict(
        type='CropTrackPair',
        size=(48, 96),
        factor=(1.5, 3.0),
        centre_jitter=(0.0, 1.6),
        scale_jitter=(0.0, 0.5),
    ),
    dict(type='PackTrackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.02),
)
max_epochs = 24
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=2e-5,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=8)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=8))
randomness = dict(seed=0)
