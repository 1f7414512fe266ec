# QKFormer 10-512 with Bipolar Self-attention in its last stage on ImageNet, the recipe of its
# paper: 4 GPUs, 100 images in a step.
_base_ = './qkformer_10-512_8xb32-acc2-200e_imagenet-224.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
train_dataloader = dict(batch_size=25)
optim_wrapper = dict(optimizer=dict(lr=6e-4 * 100 / 256), accumulative_counts=1)
auto_scale_lr = dict(base_batch_size=100)
