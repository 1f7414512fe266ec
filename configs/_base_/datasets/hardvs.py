# HAR-DVS (Wang et al., 2022): 107,646 recordings of 300 actions at 260 x 346. The test split is
# evaluated. To use another folder, set HARDVS_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$HARDVS_ROOT:data/hardvs}}'
data_preprocessor = dict(num_classes=300)
dataset = dict(reader='HARDVS', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
