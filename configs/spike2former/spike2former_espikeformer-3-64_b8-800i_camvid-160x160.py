# A small Spike2Former on CamVid, from scratch, for two CPU cores. The folder of the photos:
# CAMVID_ROOT in the environment.
_base_ = [
    '../_base_/models/spike2former_tiny.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(160, 160)), decode_head=dict(num_classes=11))
# the small norm of the published recipe; without it the masks hardly learn in 800 iterations
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
default_hooks = dict(checkpoint=dict(interval=200))
