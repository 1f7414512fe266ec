# Spiking Point Transformer with Bipolar Self-attention among neighbours [ours] on ModelNet40, T =
# 2.
_base_ = './spt_t2_modelnet40.py'
model = dict(backbone=dict(attention=dict(type='mmbsa.BipolarPointAttention')))
