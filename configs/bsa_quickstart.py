# A small segmenter with Bipolar Self-attention that learns drawn street scenes in a few minutes on two CPU cores:
#   bash tools/dist_train.sh configs/bsa_quickstart.py 2
# Pictures of its validations are saved under work_dirs/bsa_quickstart/overlays.
_base_ = ['./_base_/models/espikeformer_fpn.py', './_base_/datasets/drawn_scenes.py', './_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(16, 32, 48, 64), depths=(2, 1), num_heads=4),
        attention=dict(type='mmbsa.BipolarSelfAttention'),
        layer_scale=None),  # 1e-6 is for blocks that were trained before
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    decode_head=dict(in_channels=[32, 32, 32, 32], channels=32, num_classes=7))

max_iters = 600
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.004, weight_decay=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=40, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
randomness = dict(seed=0)
