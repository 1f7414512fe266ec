# DVS128 Gesture (Amir et al., 2017): 11 gestures of 29 people at 128 x 128, 1,176 + 288 recordings.
# To use another folder, set DVS_GESTURE_ROOT in the environment. There are no flips, because left
# and right hands are different classes.
_base_ = './event_frames.py'
data_root = '{{$DVS_GESTURE_ROOT:data/dvs128-gesture}}'
data_preprocessor = dict(num_classes=11)
dataset = dict(reader='DVS128Gesture', data_root=data_root)
train_pipeline = [{{_base_.load}}, {{_base_.augment}}, {{_base_.pack}}]
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
