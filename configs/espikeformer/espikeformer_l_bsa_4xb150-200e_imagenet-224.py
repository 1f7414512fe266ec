# E-SpikeFormer l with Bipolar Self-attention on ImageNet, the recipe of its paper: 4 GPUs, 600
# images in a step. One training step with 4 integer levels, as for the weights of the family;
# model.backbone.num_steps=4 is the paper's T = 4.
_base_ = './espikeformer_m_bsa_4xb150-200e_imagenet-224.py'
model = dict(backbone=dict(arch='l'))
