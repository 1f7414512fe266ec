"""A classifier of ImageNet with the batch augmentations of most recipes."""

_base_ = './classifier.py'
model = dict(
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]
    )
)
