# Spike2Former with E-SpikeFormer 19M on Cityscapes. Learning rate, batch of 32 images and 90k
# iterations are those of the paper; in the released config the rate decays until 160k.
_base_ = [
    '../_base_/models/spike2former.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/spike2former_160k.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(512, 1024)), decode_head=dict(num_classes=19))
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # the released config of Meta-SpikeFormer has 1e-3
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=90000),
]
train_cfg = dict(max_iters=90000, val_interval=9000)
