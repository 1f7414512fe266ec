"""A classifier of event frames with label smoothing, and Mixup of every other batch."""

_base_ = './classifier.py'
model = dict(
    backbone=dict(num_steps=16),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.5)], probs=[0.5]),
)
