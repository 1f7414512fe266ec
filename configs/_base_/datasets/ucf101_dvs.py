# UCF101-DVS (Bi et al., 2020): 13,320 recordings of 101 actions at 180 x 240, the first 80 % of
# each class train. To use another folder, set UCF101_DVS_ROOT in the environment.
_base_ = './event_frames_64.py'
data_root = '{{$UCF101_DVS_ROOT:data/ucf101-dvs}}'
data_preprocessor = dict(num_classes=101)
dataset = dict(reader='UCF101DVS', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
