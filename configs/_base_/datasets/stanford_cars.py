# Stanford Cars (Krause et al., 2013): 8,144 + 8,041 photos of 196 cars, read by mmpretrain. To use
# another folder, set STANFORD_CARS_ROOT in the environment.
_base_ = './imagenet.py'
data_root = '{{$STANFORD_CARS_ROOT:data/stanford_cars}}'
data_preprocessor = dict(num_classes=196)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='StanfordCars',
        data_root=data_root,
        split='train',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='StanfordCars',
        data_root=data_root,
        split='test',
        pipeline={{_base_.test_pipeline}},
    )
)
test_dataloader = val_dataloader
