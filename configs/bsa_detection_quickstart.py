# A small Mask R-CNN with Bipolar Self-attention that learns to find and outline cars, people and
# signs in generated street scenes in minutes on two CPU cores:
#   bash tools/dist_train.sh configs/bsa_detection_quickstart.py 2
# Images of its validations, with detections next to the ground truth, are saved under
# work_dirs/bsa_detection_quickstart/overlays.
_base_ = [
    './_base_/models/espikeformer_mask_rcnn.py',
    './_base_/datasets/drawn_instances.py',
    './_base_/det_runtime.py',
]
# Without pre-training, neck and heads need norms and an initialisation with which neurons emit
# spikes.
strides = [4, 8, 16, 32]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(16, 32, 48, 64), depths=(2, 1), num_heads=4),
        attention=dict(type='mmbsa.BipolarSelfAttention'),
    ),
    neck=dict(
        in_channels=[16, 32, 48, 64],
        out_channels=32,
        num_outs=4,
        norm_cfg=dict(_delete_=True, type='BN'),
    ),
    rpn_head=dict(
        in_channels=32,
        feat_channels=32,
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.05),
        anchor_generator=dict(scales=[4], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, finest_scale=14),
        bbox_head=dict(in_channels=32, fc_out_channels=128, num_classes=3),
        mask_roi_extractor=dict(out_channels=32, finest_scale=14),
        mask_head=dict(
            num_convs=2,
            in_channels=32,
            conv_out_channels=32,
            num_classes=3,
            norm_cfg=dict(type='BN'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100)),
)

max_iters = 600
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.02),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min=2e-5),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=200, save_best='coco/segm_mAP_50'),
)
randomness = dict(seed=0)
