# Cascade Mask R-CNN with the 19M backbone of Spike-driven Transformer V3 on COCO: 36 epochs.
_base_ = [
    '../_base_/models/espikeformer_cascade_mask_rcnn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/detection_3x.py',
    '../_base_/det_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/espikeformer-l.pth', prefix='backbone.'
        )
    )
)
