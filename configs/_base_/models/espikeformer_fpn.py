# E-SpikeFormer (Spike-driven Transformer V3) 10M with the spiking FPN of its segmentation protocol.
# With model.backbone.attention=dict(type='mmbsa.BipolarSelfAttention') the attention is bipolar and
# nothing else changes.
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
        arch='m',
        neuron=neuron,
        norm_cfg=norm_cfg,
        layer_scale=1e-6,
        out_indices=(0, 1, 2, 4),
    ),
    neck=dict(
        type='mmbsa.SpikeFPN',
        in_channels=[24, 48, 96, 240],
        out_channels=128,
        num_outs=4,
        neuron=neuron,
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='mmbsa.SpikeFPNHead',
        in_channels=[128, 128, 128, 128],
        in_index=[0, 1, 2, 3],
        # the true strides are 2, 4, 8, 16; only their ratios are used, and the official files have
        # 4 to 32
        feature_strides=[4, 8, 16, 32],
        channels=128,
        num_classes=150,
        neuron=neuron,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
