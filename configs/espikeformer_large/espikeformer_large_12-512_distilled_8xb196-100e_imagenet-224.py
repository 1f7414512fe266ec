# E-SpikeFormer large, 83M, on ImageNet: the official distillation, after fine-tuning; 8 GPUs with
# 196 images each. timm downloads the teacher's weights; set teacher.checkpoint_path to use a file.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.ESpikeFormerLarge', arch='12-512', num_steps=1, layer_scale=1e-6),
    head=dict(distill=True),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.5), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    ),
    teacher=dict(
        type='mmbsa.TimmTeacher',
        model='caformer_b36.sail_in22k_ft_in1k',
        pretrained=True,
        mode='hard',
        alpha=0.5,
    ),
)
train_dataloader = dict(batch_size=196)
optim_wrapper = dict(optimizer=dict(lr=1e-3 * 1568 / 256))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=5,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1568)
load_from = 'work_dirs/espikeformer_large_12-512_8xb128-150e_imagenet-224/epoch_150.pth'
