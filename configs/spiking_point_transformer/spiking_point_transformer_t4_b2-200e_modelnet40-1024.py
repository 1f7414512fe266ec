# Spiking Point Transformer on ModelNet40, T = 4.
_base_ = './spiking_point_transformer_t2_b2-200e_modelnet40-1024.py'
model = dict(backbone=dict(encoder=dict(num_steps=4)))
