# RetinaNet with E-SpikeFormer 10M and Bipolar Self-attention on Prophesee Gen1: 4 frames of 50 ms
# are the 4 time steps. The network is trained from scratch. No published recipe exists; this one is
# ours.
_base_ = [
    '../_base_/models/espikeformer_retinanet.py',
    '../_base_/datasets/event_boxes.py',
    '../_base_/schedules/detection_3x.py',
    '../_base_/det_runtime.py',
]
model = dict(
    data_preprocessor=dict(
        _delete_=True, type='mmbsa.EventDetDataPreprocessor', pad_size_divisor=32
    ),
    backbone=dict(
        arch='m', num_steps=4, in_channels=2, attention=dict(type='mmbsa.BipolarSelfAttention')
    ),
    neck=dict(
        in_channels=[96, 192, 240], out_channels=192, norm_cfg=dict(_delete_=True, type='BN')
    ),
    bbox_head=dict(
        num_classes=2,
        in_channels=192,
        feat_channels=192,
        norm_cfg=dict(type='BN'),
        anchor_generator=dict(octave_base_scale=2),
    ),
)  # objects of 30 to 200 pixels
default_hooks = dict(visualization=dict(draw=False))  # frames of counts cannot be drawn as an image
