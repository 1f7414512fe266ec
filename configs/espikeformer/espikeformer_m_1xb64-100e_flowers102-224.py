# E-SpikeFormer m on Oxford 102 Flowers, from ImageNet weights. The recipe is ours, because STEP
# uses this data set but publishes no recipe.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/flowers102.py',
    '../_base_/schedules/finetune_100e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(
        type='mmbsa.ESpikeFormer',
        arch='m',
        num_steps=1,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/espikeformer-m.pth', prefix='backbone.'
        ),
    ),
    head=dict(num_classes=102),
)
