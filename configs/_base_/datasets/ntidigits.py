# N-TIDIGITS18 (Anumula et al., 2018), the recordings of one digit: 64 channels, 11 classes, as ten
# maps of 16 x 16. To use another folder, set NTIDIGITS_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$NTIDIGITS_ROOT:data/ntidigits}}'
data_preprocessor = dict(num_classes=11)
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
    reader='NTIDIGITS',
    data_root=data_root,
    pipeline=pipeline,
)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
