# A small segmenter with Bipolar Self-attention that learns generated street scenes in a few minutes
# on two CPU cores:
#   bash tools/dist_train.sh configs/bsa_quickstart.py 2
# Images of its validations are saved under work_dirs/bsa_quickstart/overlays.
_base_ = [
    './_base_/models/espikeformer_tiny_fpn.py',
    './_base_/datasets/drawn_scenes.py',
    './_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')),
    decode_head=dict(num_classes=7),
)

max_iters = 450
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.005)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=40, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=150)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=150))
randomness = dict(seed=0)
