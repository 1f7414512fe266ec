# Meta-SpikeFormer 8-512 on ImageNet, the second half of the official recipe: T = 4, from the
# weights of T = 1, with a teacher whose weights timm downloads (set teacher.checkpoint_path to use
# a file); 8 GPUs with 24 images each.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/imagenet_lamb_200e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.MetaSpikeFormer', arch='8-512'),
    head=dict(distill=True),
    teacher=dict(
        type='mmbsa.TimmTeacher',
        model='caformer_b36.sail_in22k_ft_in1k',
        pretrained=True,
        mode='hard',
        alpha=0.5,
    ),
)
train_dataloader = dict(batch_size=24)
optim_wrapper = dict(optimizer=dict(lr=2e-5 * 192 / 256))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-2,
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
        end=50,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=50)
auto_scale_lr = dict(base_batch_size=192)
load_from = 'work_dirs/meta_spikeformer_8-512_t1_8xb128-200e_imagenet-224/epoch_200.pth'
