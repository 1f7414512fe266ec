"""A classifier without its backbone: the readout of the family and label smoothing; the
normalisation is in the dataset config."""

model = dict(
    type='mmbsa.SpikingImageClassifier',
    backbone=dict(num_steps=4, out_indices=(-1,)),
    head=dict(
        type='mmbsa.SpikingClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
)
