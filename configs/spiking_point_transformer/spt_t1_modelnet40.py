# Spiking Point Transformer on ModelNet40, T = 1.
_base_ = './spt_t2_modelnet40.py'
model = dict(backbone=dict(encoder=dict(num_steps=1)))
