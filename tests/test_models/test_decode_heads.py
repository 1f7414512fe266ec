"""Spiking decode heads inside mmseg's own segmentor."""

import pytest
import torch

from mmbsa.registry import MODELS
from mmbsa.spiking import SpikingNeuron

pytestmark = pytest.mark.seg
pytest.importorskip('mmseg')
TINY = dict(embed_dims=(8, 16, 16, 24), num_heads=2, depths=(1, 1))
CHANNELS = (4, 8, 16, 24)


def segmentor(num_steps=1, attention=None, **head):
    return MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=dict(
                type='mmbsa.ESpikeFormer',
                arch=TINY,
                num_steps=num_steps,
                attention=attention,
                layer_scale=1e-6,
            ),
            neck=dict(
                type='mmbsa.SpikeFPN', in_channels=CHANNELS, out_channels=8, num_steps=num_steps
            ),
            decode_head=dict(
                type='mmbsa.SpikeFPNHead',
                in_channels=[8] * 4,
                in_index=[0, 1, 2, 3],
                channels=8,
                feature_strides=(4, 8, 16, 32),
                num_classes=5,
                num_steps=num_steps,
                **head,
            ),
        )
    )


@pytest.mark.parametrize('size', [(64, 64), (37, 50)])
@pytest.mark.parametrize('num_steps', [1, 2])
def test_logits_have_the_finest_stride(size, num_steps):
    model = segmentor(num_steps, dict(type='mmbsa.BipolarSelfAttention'))
    logits = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, -(-size[0] // 2), -(-size[1] // 2))
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_units_per_scale_follow_the_strides():
    head = segmentor().decode_head
    assert [len(h) for h in head.scale_heads] == [1, 1, 2, 3]
    assert [h.upsample for h in head.scale_heads] == [False, True, True, True]
    assert head.dropout is None, 'the official head never applies its dropout'
    assert segmentor(dropout_ratio=0.1).decode_head.dropout.p == 0.1


@pytest.mark.parametrize(
    'head',
    [
        dict(type='mmseg.FCNHead', in_channels=24, in_index=3, num_convs=1),
        dict(type='mmseg.PSPHead', in_channels=24, in_index=3),
        dict(type='mmseg.UPerHead', in_channels=list(CHANNELS), in_index=[0, 1, 2, 3]),
        dict(type='mmseg.SegformerHead', in_channels=list(CHANNELS), in_index=[0, 1, 2, 3]),
        dict(type='mmseg.ASPPHead', in_channels=24, in_index=3),
    ],
    ids=lambda h: h['type'],
)
def test_stock_heads_work_behind_the_readout(head):
    head.update(channels=8, num_classes=5, norm_cfg=dict(type='BN'))
    model = MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            neck=dict(type='mmbsa.TemporalReadout'),
            decode_head=head,
            backbone=dict(
                type='mmbsa.ESpikeFormer',
                arch=TINY,
                num_steps=2,
                attention=dict(type='mmbsa.BipolarSelfAttention'),
            ),
        )
    )
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape[:2] == (2, 5)
    logits.mean().backward()
    assert model.backbone.stem.conv.weight.grad.any()


@pytest.mark.parametrize(
    'head',
    [dict(type='mmbsa.SpikeUPerHead', pool_scales=(1, 2)), dict(type='mmbsa.SpikeMLPHead')],
    ids=lambda head: head['type'],
)
@pytest.mark.parametrize(
    'neuron',
    [None, dict(type='mmbsa.LIFNode', tau=2.0), dict(type='mmbsa.PSN')],
    ids=lambda neuron: neuron and neuron['type'],
)
def test_spiking_heads_read_any_size_and_time(head, neuron):
    model = MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=dict(type='mmbsa.ESpikeFormer', arch=TINY, num_steps=2),
            decode_head=dict(
                head,
                in_channels=CHANNELS,
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=5,
                neuron=neuron,
                num_steps=2,
            ),
        )
    )
    for size in ((64, 64), (37, 50)):
        logits = model(torch.randn(2, 3, *size))
        assert logits.shape == (2, 5, -(-size[0] // 2), -(-size[1] // 2))
    logits.square().mean().backward()
    parameters = dict(model.decode_head.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters.values())
    kinds = {type(m).__name__ for m in model.decode_head.modules() if isinstance(m, SpikingNeuron)}
    assert kinds == {neuron['type'].removeprefix('mmbsa.') if neuron else 'IntegerNode'}
    with pytest.raises(ValueError, match='decode_head.num_steps=2, but backbone.num_steps=3'):
        model.decode_head([torch.zeros(3, 1, width, 8, 8) for width in CHANNELS])


@pytest.mark.parametrize('kind', ['mmbsa.SpikeUPerHead', 'mmbsa.SpikeMLPHead'])
def test_every_map_reaches_the_logits(kind):
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type=kind, in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=8, num_classes=5)
    )
    maps = [
        2 * torch.randn(1, 2, width, 32 // stride, 32 // stride, requires_grad=True)
        for width, stride in zip(CHANNELS, (1, 2, 4, 4))
    ]
    for map_ in maps:
        map_.retain_grad()
    head(maps).square().sum().backward()
    assert all(map_.grad.any() for map_ in maps)


def convolutions(head):
    """(out, in, height, width) of every convolution."""
    return [tuple(m.weight.shape) for m in head.modules() if isinstance(m, torch.nn.Conv2d)]


def test_spiking_heads_have_the_documented_convolutions():
    options = dict(in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=8, num_classes=5)
    mlp = MODELS.build(dict(type='mmbsa.SpikeMLPHead', **options))
    assert sorted(convolutions(mlp)) == sorted(
        [(5, 8, 1, 1), *((8, width, 1, 1) for width in CHANNELS), (8, 32, 1, 1)]
    )
    uper = MODELS.build(dict(type='mmbsa.SpikeUPerHead', **options))
    *finer, coarsest = CHANNELS
    assert sorted(convolutions(uper)) == sorted(
        [
            (5, 8, 1, 1),
            *[(8, coarsest, 1, 1)] * 4,  # one per scale of the pyramid pooling
            (8, coarsest + 4 * 8, 3, 3),
            *((8, width, 1, 1) for width in finer),
            *[(8, 8, 3, 3)] * len(finer),
            (8, 4 * 8, 3, 3),
        ]
    )


def test_strides_must_match_channels():
    with pytest.raises(ValueError, match='feature_strides'):
        MODELS.build(
            dict(
                type='mmbsa.SpikeFPNHead',
                in_channels=[8] * 4,
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=5,
                feature_strides=(4, 8, 16),
            )
        )
