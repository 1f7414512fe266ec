"""A classifier of 32 x 32 images with label smoothing and Mixup, as in the CIFAR recipes."""

_base_ = './classifier.py'
model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]))
