# Spiking Point Transformer on ScanObjectNN, T = 2; scans have no normals.
_base_ = [
    '../_base_/models/point_transformer.py',
    '../_base_/datasets/scanobjectnn.py',
    '../_base_/schedules/points_200e.py',
    '../_base_/points_runtime.py',
]
model = dict(backbone=dict(in_channels=3), head=dict(num_classes=15))
