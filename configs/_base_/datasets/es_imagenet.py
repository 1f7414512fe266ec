# ES-ImageNet (Lin et al., 2021): ImageNet photos moved in front of a simulated event camera, 1,000
# classes, at most 256 x 256. To use another folder, set ES_IMAGENET_ROOT in the environment.
_base_ = './event_frames.py'
data_root = '{{$ES_IMAGENET_ROOT:data/es-imagenet}}'
data_preprocessor = dict(num_classes=1000)
dataset = dict(reader='ESImageNet', data_root=data_root)
train_dataloader = dict(dataset=dict(**dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
