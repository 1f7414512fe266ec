# Mask R-CNN of Spike-driven Transformer V3 (10M backbone, 21.2M in all) on COCO. Weights of the
# classifier: V3_10.0M_1x4.pth of the authors, converted by tools/model_converters/convert.py
# sdt_v3_cls.
_base_ = './espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py'
model = dict(
    backbone=dict(arch='m', init_cfg=dict(checkpoint='checkpoints/espikeformer-m.pth')),
    neck=dict(in_channels=[48, 96, 192, 240], out_channels=192),
    rpn_head=dict(in_channels=192, feat_channels=192),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=192),
        bbox_head=dict(in_channels=192, fc_out_channels=768),
        mask_roi_extractor=dict(out_channels=192),
        mask_head=dict(in_channels=192, conv_out_channels=192),
    ),
)
