# Spike2Former: a spiking mask decoder on E-SpikeFormer (Spike-driven Transformer V3) 19M. Neurons
# have 4 levels, as in the paper; in the released code the head has 8 levels (official_quirks=True).
# Bipolar Self-attention in backbone and head: attention=dict(type='mmbsa.BipolarSelfAttention') in
# both.
neuron = dict(type='mmbsa.IntegerNode', levels=4)
norm_cfg = dict(type='BN')
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(512, 512),
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmbsa.ESpikeFormer',
        arch='l',
        neuron=neuron,
        norm_cfg=norm_cfg,
        out_indices=(0, 1, 2, 4),
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/espikeformer-l.pth', prefix='backbone.'
        ),
    ),
    decode_head=dict(
        type='mmbsa.Spike2FormerHead',
        in_channels=[32, 64, 128, 360],
        channels=256,
        num_classes=150,
        num_queries=100,
        neuron=neuron,
        norm_cfg=norm_cfg,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
