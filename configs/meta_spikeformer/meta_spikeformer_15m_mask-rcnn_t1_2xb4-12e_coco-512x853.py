# Mask R-CNN with Meta-SpikeFormer 15M (Spike-driven Transformer V2, T = 1, binary spikes in the
# backbone) on COCO by the protocol of Spike-driven Transformer V3.
_base_ = '../espikeformer/espikeformer_l_mask-rcnn_2xb4-12e_coco-512x853.py'
model = dict(
    backbone=dict(
        type='mmbsa.MetaSpikeFormer',
        arch='15m',
        num_steps=1,
        init_cfg=dict(checkpoint='checkpoints/meta_spikeformer-15m.pth'),
    )
)
