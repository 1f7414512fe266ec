# Spikingformer 4-384 with Bipolar Self-attention on CIFAR-100: 80.48 in its paper, 79.13 without.
_base_ = './spikingformer_4-384_b64-410e_cifar100-32.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
