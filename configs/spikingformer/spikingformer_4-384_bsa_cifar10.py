# Spikingformer 4-384 with Bipolar Self-attention on CIFAR-10.
_base_ = './spikingformer_4-384_cifar10.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
