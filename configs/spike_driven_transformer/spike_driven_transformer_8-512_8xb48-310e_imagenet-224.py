# Spike-driven Transformer V1 8-512 on ImageNet, the official recipe: 8 GPUs with 48 images each;
# 74.57 published.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_m5.py',
    '../_base_/schedules/imagenet_lamb_300e.py',
    '../_base_/cls_runtime.py',
]
model = dict(
    backbone=dict(type='mmbsa.SpikeDrivenTransformer', arch='8-512'),
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)], probs=[0.3, 0.3]
    ),
)
train_dataloader = dict(batch_size=48)
auto_scale_lr = dict(enable=False, base_batch_size=384)
