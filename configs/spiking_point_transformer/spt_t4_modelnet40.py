# Spiking Point Transformer on ModelNet40, T = 4.
_base_ = './spt_t2_modelnet40.py'
model = dict(backbone=dict(encoder=dict(num_steps=4)))
