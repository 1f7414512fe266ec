"""The trial of a swapped config feeds it what its pictures are."""

import pytest
from mmengine.config import Config

pytestmark = pytest.mark.seg


def test_swapped_configs_of_grey_pictures_run():
    pytest.importorskip('mmseg')
    from swap_trial import run_skeleton

    from mmbsa.apis import swap_backbone

    norm = dict(type='BN')
    head = dict(
        type='FCNHead',
        in_channels=2048,
        in_index=3,
        channels=8,
        num_convs=1,
        num_classes=5,
        norm_cfg=norm,
    )
    cfg = swap_backbone(
        Config(
            dict(
                default_scope='mmseg',
                crop_size=(64, 64),
                model=dict(
                    type='EncoderDecoder',
                    data_preprocessor=dict(type='SegDataPreProcessor', mean=[1.0], std=[1.0]),
                    backbone=dict(type='ResNetV1c', depth=50, in_channels=1, norm_cfg=norm),
                    decode_head=head,
                    test_cfg=dict(mode='whole'),
                ),
            )
        ),
        'spikingformer-8-512',
    )
    assert cfg.model.backbone.in_channels == 1
    run_skeleton(cfg)
