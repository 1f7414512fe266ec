# Spiking Heidelberg Digits (Cramer et al., 2020): 8,156 + 2,264 spoken digits, 700 channels, 20
# classes, as ten maps of 16 x 16. To use another folder, set SHD_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$SHD_ROOT:data/shd}}'
data_preprocessor = dict(num_classes=20)
load = dict(
    type='mmbsa.LoadEventFrames',
    num_frames=10,
    by='time',
    size=None,
    cache_dir={{_base_.cache_dir}},
)
fold = dict(type='mmbsa.ChannelsToMap', side=16)
pipeline = [load, fold, {{_base_.pack}}]
dataset = dict(
    type='mmbsa.SpikingAudioDataset',
    reader='SHD',
    data_root=data_root,
    pipeline=pipeline,
)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
