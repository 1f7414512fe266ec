"""SDTrack tiny, 1 x 4 (T x D): E-SpikeFormer blocks without separable convolutions in the
transformer stages.

Official trainings start from ImageNet weights: ``model.backbone.init_cfg=dict(type='Pretrained',
checkpoint=...)`` with a file that ``tools/model_converters/convert.py`` made with the source
``sdtrack_tiny_backbone``.
"""

model = dict(
    type='SDTrack',
    data_preprocessor=dict(type='TrackDataPreprocessor'),  # event images, 0..255, not normalised
    backbone=dict(
        type='ESpikeFormer',
        arch=dict(embed_dims=(64, 128, 256, 360), depths=(6, 2), num_heads=8, with_conv=False),
        num_steps=1,
    ),
    head=dict(type='CentreHead', channels=256),
    crops=dict(
        template_size=128,
        search_size=256,
        template_factor=2.0,
        search_factor=4.0,
        official_quirks=True,
    ),
)
