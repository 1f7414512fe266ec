# Spiking Point Transformer with Bipolar Self-attention between neighbours [ours] on ModelNet40, T =
# 2.
_base_ = './spiking_point_transformer_t2_b2-200e_modelnet40-1024.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarPointAttention')))
