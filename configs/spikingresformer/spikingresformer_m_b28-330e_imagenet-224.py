# SpikingResformer-M on ImageNet, the official recipe: 28 images per GPU.
_base_ = './spikingresformer_ti_b32-330e_imagenet-224.py'
model = dict(backbone=dict(arch='m'))
train_dataloader = dict(batch_size=28)
optim_wrapper = dict(optimizer=dict(lr=8e-4))
