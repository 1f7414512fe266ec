"""An isotropic family with 512 channels and the spiking FPN; the levels are the four steps of the
tokenizer **[ours]**."""

norm_cfg = dict(type='BN')
neuron = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)
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
    backbone=dict(neuron=neuron, norm_cfg=norm_cfg, num_steps=4, out_indices=(0, 1, 2, 3)),
    neck=dict(
        type='mmbsa.SpikeFPN',
        in_channels=[128, 256, 512, 512],
        out_channels=128,
        num_outs=4,
        neuron=neuron,
        norm_cfg=norm_cfg,
        num_steps=4,
    ),
    decode_head=dict(
        type='mmbsa.SpikeFPNHead',
        in_channels=[128, 128, 128, 128],
        in_index=[0, 1, 2, 3],
        feature_strides=[2, 4, 8, 16],
        channels=128,
        num_classes=150,
        neuron=neuron,
        norm_cfg=norm_cfg,
        num_steps=4,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
