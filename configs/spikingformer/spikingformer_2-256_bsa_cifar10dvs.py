# Spikingformer 2-256 with Bipolar Self-attention on CIFAR10-DVS.
_base_ = './spikingformer_2-256_cifar10dvs.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
