# ModelNet40 with normals (modelnet40_normal_resampled). To use another folder, set MODELNET_ROOT in
# the environment. The official recipe: the first 1,024 points, batches of 2.
dataset = dict(
    type='mmbsa.ModelNet',
    classes=40,
    data_root='{{$MODELNET_ROOT:data/modelnet40_normal_resampled}}',
)
load = [
    dict(type='mmbsa.LoadPoints'),
    dict(type='mmbsa.SamplePoints', num_points=1024, channels=6),
    dict(type='mmbsa.NormalizePoints'),
]
train_pipeline = [
    *load,
    dict(type='mmbsa.ShufflePoints'),
    dict(type='mmbsa.DropPoints', max_ratio=0.2),
    dict(type='mmbsa.ScalePoints', low=0.85, high=1.15),
    dict(type='mmbsa.ShiftPoints', limit=0.2),
    dict(type='mmbsa.PackPoints'),
]
test_pipeline = [*load, dict(type='mmbsa.PackPoints')]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
