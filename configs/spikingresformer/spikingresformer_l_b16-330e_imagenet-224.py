# SpikingResformer-L on ImageNet, the official recipe: 16 images per GPU, synchronised batch norms,
# stronger RandAugment.
_base_ = './spikingresformer_ti_b32-330e_imagenet-224.py'
model = dict(backbone=dict(arch='l', norm_cfg=dict(type='SyncBN')))
train_pipeline = [
    {{_base_.load}},
    {{_base_.crop}},
    {{_base_.flip}},
    dict(type='mmbsa.TimmRandAugment', config='rand-m9-n3-mstd0.5-inc1'),
    {{_base_.pack}},
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
