# SpikingResformer-S on ImageNet, the official recipe: 32 images per GPU.
_base_ = './spikingresformer_ti_b32-330e_imagenet-224.py'
model = dict(backbone=dict(arch='s'))
