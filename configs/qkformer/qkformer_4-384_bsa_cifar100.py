# QKFormer 4-384 with Bipolar Self-attention in its last stage on CIFAR-100.
_base_ = './qkformer_4-384_cifar100.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
