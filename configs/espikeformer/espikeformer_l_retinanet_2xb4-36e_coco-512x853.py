# RetinaNet with the 19M backbone of Spike-driven Transformer V3 on COCO: 36 epochs, the learning
# rate decays linearly to a hundredth.
_base_ = [
    '../_base_/models/espikeformer_retinanet.py',
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
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.01,
        by_epoch=True,
        begin=0,
        end=36,
        convert_to_iter_based=True,
    ),
]
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
