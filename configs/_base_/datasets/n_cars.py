# N-CARS (Sironi et al., 2018): 15,422 + 8,607 recordings of 0.1 s, at most 100 x 120, cars and
# background. To use another folder, set N_CARS_ROOT in the environment.
_base_ = './event_frames_64.py'
data_root = '{{$N_CARS_ROOT:data/n-cars}}'
data_preprocessor = dict(num_classes=2)
dataset = dict(reader='NCARS', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
