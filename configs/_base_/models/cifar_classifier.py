"""A classifier of 32 x 32 pictures: label smoothing and Mixup, as the CIFAR recipes have them."""

_base_ = './classifier.py'
model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)]))
