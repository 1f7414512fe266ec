"""Measured backbones agree with what they really return."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmbsa.apis.swap.level import Level, SwapError
from mmbsa.apis.swap.measure import (
    build_skeleton,
    default_scope,
    measure_backbone,
    measure_neck,
    spiking_levels,
)
from mmbsa.apis.swap.names import backbone_config, backbone_names, list_names

pytest.importorskip('mmseg')
pytestmark = pytest.mark.seg
RESNET = dict(
    type='ResNet',
    depth=18,
    base_channels=4,
    strides=(1, 2, 1, 1),
    dilations=(1, 1, 2, 4),
    out_indices=(0, 1, 2, 3),
    norm_cfg=dict(type='BN'),
    init_cfg=dict(type='Pretrained', checkpoint='/no/file'),
)


def test_levels_agree_with_a_real_forward():
    outputs = measure_backbone(RESNET, 'mmseg')
    with default_scope():
        real = MODELS.build(RESNET)(torch.randn(1, 3, 64, 64))
    assert [(level.channels, level.stride) for level in outputs.levels] == [
        (x.shape[1], 64 // x.shape[2]) for x in real
    ]
    depths = [level.depth for level in outputs.levels]
    assert depths == sorted(depths) and depths[0] >= 4
    assert not any(level.decoded for level in outputs.levels), 'a dilated network never was coarser'


def test_a_decoder_inside_the_backbone_is_seen():
    unet = dict(type='UNet', base_channels=4, norm_cfg=dict(type='BN'))
    levels = measure_backbone(unet, 'mmseg').levels
    assert [level.stride for level in levels] == [16, 8, 4, 2, 1]
    assert [level.coarsest for level in levels] == [16] * 5
    assert [level.decoded for level in levels] == [False, True, True, True, True]


def test_a_backbone_that_returns_less_in_eval_mode_is_seen():
    ddrnet = dict(type='DDRNet', channels=8, ppm_channels=8, norm_cfg=dict(type='BN'))
    outputs = measure_backbone(ddrnet, 'mmseg')
    assert [(level.channels, level.stride) for level in outputs.levels] == [(16, 8), (32, 8)]
    assert outputs.eval_out == 1


def test_class_tokens_are_seen():
    vit = dict(
        type='VisionTransformer',
        img_size=64,
        embed_dims=16,
        num_layers=2,
        num_heads=2,
        out_indices=(0, 1),
        output_cls_token=True,
    )
    outputs = measure_backbone(vit, 'mmseg')
    assert outputs.tokens and outputs.levels[0].channels == 16 and outputs.levels[0].stride == 16


def test_backbones_of_one_size_are_measured_at_theirs():
    beit = dict(
        type='BEiT', img_size=(64, 64), embed_dims=16, num_layers=1, num_heads=2, out_indices=(0,)
    )
    with pytest.raises(RuntimeError):
        measure_backbone(beit, 'mmseg')
    assert measure_backbone(beit, 'mmseg', ((64, 64),)).levels[0].stride == 16


def test_building_takes_no_memory_and_leaves_no_mode_behind():
    huge = build_skeleton(dict(RESNET, base_channels=1024))
    assert (
        all(p.is_meta for p in huge.parameters())
        and sum(p.numel() for p in huge.parameters()) > 1e9
    )
    assert not nn.Linear(2, 2).weight.is_meta


def test_necks_are_measured():
    levels = [Level(4, 4), Level(8, 8), Level(16, 16)]
    fpn = dict(type='FPN', in_channels=[4, 8, 16], out_channels=6, num_outs=4)
    assert [(m.channels, m.stride) for m in measure_neck(fpn, levels, 'mmseg')] == [
        (6, 4),
        (6, 8),
        (6, 16),
        (6, 32),
    ]


def test_feature_info_of_every_family_is_true():
    first = {}
    for name, cfg in backbone_names().items():
        first.setdefault(cfg['type'], name)
    for name in first.values():
        levels = spiking_levels(backbone_config(name))
        cfg = dict(backbone_config(name), num_steps=1, in_channels=3, out_indices=tuple(levels))
        with torch.no_grad():
            outs = MODELS.build(cfg).eval()(torch.randn(1, 3, 64, 64))
        assert [(x.shape[2], 64 // x.shape[3]) for x in outs] == [
            (lv.channels, lv.stride) for lv in levels.values()
        ], name


def test_a_subset_of_levels_can_be_asked_for():
    assert list(spiking_levels(dict(backbone_config('espikeformer-t'), out_indices=(1, 4)))) == [
        1,
        4,
    ]


@pytest.mark.parametrize(
    'cfg, words',
    [
        (dict(type='mmbsa.NoSuchBackbone'), 'NoSuchBackbone'),
        (dict(type='mmbsa.ESpikeFormer', arch='xxl'), 'xxl'),
        (RESNET, 'no feature_info'),
    ],
)
def test_what_is_no_spiking_backbone_is_named(cfg, words):
    with pytest.raises(SwapError, match=words):
        spiking_levels(cfg)


def test_names_of_every_kind_are_measured():
    names = backbone_names()
    assert names['espikeformer-m-bsa'] == dict(
        type='mmbsa.ESpikeFormer', arch='m', attention=dict(type='mmbsa.BipolarSelfAttention')
    )
    assert backbone_config('mmbsa.ESpikeFormer') == dict(type='mmbsa.ESpikeFormer')
    assert any(
        line.startswith('espikeformer-{t,s,m,l,') and '}[-bsa' in line for line in list_names()
    )
    with pytest.raises(SwapError, match='espikeformer-m'):
        backbone_config('espikeformer-mm')
    with pytest.raises(SwapError, match="'type'"):
        backbone_config(dict(arch='m'))
