# QKFormer 4-384 with Bipolar Self-attention in its last stage on CIFAR-10.
_base_ = './qkformer_4-384_b64-410e_cifar10-32.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
