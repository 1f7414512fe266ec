# Spikingformer 4-384 with Bipolar Self-attention on CIFAR-10.
_base_ = './spikingformer_4-384_b64-410e_cifar10-32.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarSelfAttention')))
