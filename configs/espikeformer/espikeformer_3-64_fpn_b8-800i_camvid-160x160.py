# A small E-SpikeFormer with its own attention kind on CamVid, from scratch, for two CPU cores. The
# folder of the photos: CAMVID_ROOT in the environment.
_base_ = [
    '../_base_/models/espikeformer_tiny_fpn.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/schedule_small.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(160, 160)), decode_head=dict(num_classes=11))
default_hooks = dict(checkpoint=dict(interval=200))
