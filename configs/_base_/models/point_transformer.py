"""Spiking Point Transformer (AAAI 2025), T = 2, for clouds of 1,024 points with normals."""

num_classes = 40
model = dict(
    type='mmpretrain.ImageClassifier',
    data_preprocessor=dict(type='mmbsa.PointDataPreprocessor'),
    backbone=dict(
        type='mmbsa.SpikingPointTransformer',
        in_channels=6,
        base_channels=32,
        embed_dims=512,
        num_neighbors=16,
        depths=(1, 1, 1, 1, 1),
        encoder=dict(type='mmbsa.PointQueueEncoder', num_steps=2, num_samples=512),
        random_start=True,
    ),
    head=dict(type='mmbsa.PointClsHead', num_classes=num_classes, in_channels=512),
)
