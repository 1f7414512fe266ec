# HMDB51-DVS (Bi et al., 2020): 6,766 recordings of 51 actions at 180 x 240, the first 80 % of each
# class train. To use another folder, set HMDB51_DVS_ROOT in the environment.
_base_ = './event_frames_64.py'
data_root = '{{$HMDB51_DVS_ROOT:data/hmdb51-dvs}}'
data_preprocessor = dict(num_classes=51)
dataset = dict(reader='HMDB51DVS', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
