# N-Caltech101 (Orchard et al., 2015): 8,709 recordings of at most 180 x 240 in 101 classes, the
# first 90 % of each class train. To use another folder, set N_CALTECH101_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$N_CALTECH101_ROOT:data/n-caltech101}}'
data_preprocessor = dict(num_classes=101)
dataset = dict(reader='NCaltech101', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
