# E-SpikeFormer m with Bipolar Self-attention on ImageNet, the recipe of its paper: 4 GPUs, 600
# images in a step. One training step with 4 integer levels, as for the weights of the family;
# model.backbone.num_steps=4 is the paper's T = 4.
_base_ = './espikeformer_m_8xb256-200e_imagenet-224.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
train_dataloader = dict(batch_size=150)
optim_wrapper = dict(optimizer=dict(lr=6e-4 * 600 / 256))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=200,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=600)
