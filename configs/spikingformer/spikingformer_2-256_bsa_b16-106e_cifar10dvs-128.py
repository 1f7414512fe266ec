# Spikingformer 2-256 with Bipolar Self-attention on CIFAR10-DVS.
_base_ = './spikingformer_2-256_b16-106e_cifar10dvs-128.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
