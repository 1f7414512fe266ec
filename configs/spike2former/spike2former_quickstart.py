# A small Spike2Former that learns generated street scenes on two CPU cores:
#   bash tools/dist_train.sh configs/spike2former/spike2former_quickstart.py 2
_base_ = [
    '../_base_/models/spike2former_tiny.py',
    '../_base_/datasets/drawn_scenes.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(96, 96)), decode_head=dict(num_classes=7))
# the small norm of the published recipe; without it the masks hardly learn in 800 iterations
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
randomness = dict(seed=0)
