# E-SpikeFormer large, 171M, on ImageNet: the official fine-tuning, as that of the 83M model.
_base_ = './espikeformer_large_12-512_8xb128-150e_imagenet-224.py'
model = dict(backbone=dict(arch='12-768'))
