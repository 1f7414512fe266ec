# Spike2Former with E-SpikeFormer 19M on VOC 2012. Learning rate, batch of 32 images and 80k
# iterations are those of the paper.
_base_ = [
    '../_base_/models/spike2former.py',
    '../_base_/datasets/pascal_voc12.py',
    '../_base_/schedules/spike2former_160k.py',
    '../_base_/default_runtime.py',
]
# the released config has 150 classes in the head
model = dict(decode_head=dict(num_classes=21))
optim_wrapper = dict(
    optimizer=dict(lr=2e-3)
)  # the released configs have 1e-3, and 160k and 120k iterations
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=80000),
]
train_cfg = dict(max_iters=80000, val_interval=8000)
