# E-SpikeFormer s (Spike-driven Transformer V3) on ImageNet, the official recipe: T = 1, D = 4, 8
# GPUs with 256 images each.
_base_ = './espikeformer_m_8xb256-200e_imagenet-224.py'
model = dict(backbone=dict(arch='s'))
