# Mask R-CNN of Spike-driven Transformer V3 (19M backbone, 38.7M in all) on COCO: 12 epochs, 4
# images on each of 2 GPUs. Weights of the classifier: V3_19.0M_1x4.pth of the authors, converted by
# tools/model_converters/convert.py sdt_v3_cls.
_base_ = [
    '../_base_/models/espikeformer_mask_rcnn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/detection_1x.py',
    '../_base_/det_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/espikeformer-l.pth', prefix='backbone.'
        )
    )
)
