# Mask R-CNN with Meta-SpikeFormer 55M (Spike-driven Transformer V2, T = 1) on COCO by the protocol
# of the STEP benchmark: from scratch, 10 epochs, one image per GPU, AdamW with 2.5e-5.
_base_ = '../espikeformer/espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmbsa.MetaSpikeFormer',
        arch='8-512',
        num_steps=1,
        out_indices=(1, 2, 3, 4),
    ),
    neck=dict(in_channels=[128, 256, 512, 640]),
)
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=2.5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=10, milestones=[8], gamma=0.1),
]
train_cfg = dict(max_epochs=10)
auto_scale_lr = dict(base_batch_size=1)
