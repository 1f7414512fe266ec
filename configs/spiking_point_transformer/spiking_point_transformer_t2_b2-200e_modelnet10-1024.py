# Spiking Point Transformer on ModelNet10, T = 2.
_base_ = [
    '../_base_/models/point_transformer.py',
    '../_base_/datasets/modelnet10.py',
    '../_base_/schedules/points_200e.py',
    '../_base_/points_runtime.py',
]
model = dict(head=dict(num_classes=10))
