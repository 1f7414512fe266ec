# E-SpikeFormer 10M + 1.4M on ADE20K with its own attention kind: 40.1 mIoU in the paper of
# Spike-driven Transformer V3. Weights of the classifier: V3_10.0M_1x4.pth of the authors, converted
# by tools/model_converters/convert.py sdt_v3_cls.
_base_ = [
    '../_base_/models/espikeformer_fpn.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/schedule_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/espikeformer-m.pth', prefix='backbone.'
        )
    )
)
train_cfg = dict(val_interval=2500)
