"""Necks: time is read out in one place, or kept for spiking heads."""

import pytest
import torch

from mmbsa.registry import MODELS

CHANNELS, SIZES = (4, 8, 12), ((16, 12), (8, 6), (4, 3))


def maps(num_steps=2, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(num_steps, batch, c, *s, generator=generator) for c, s in zip(CHANNELS, SIZES)
    ]


@pytest.mark.parametrize(
    'mode, expected',
    [
        ('mean', lambda x: x.mean(0)),
        ('sum', lambda x: x.sum(0)),
        ('max', lambda x: x.max(0).values),
        ('last', lambda x: x[-1]),
    ],
)
@pytest.mark.parametrize('num_steps', [1, 3])
def test_readout_gives_expected_maps(mode, expected, num_steps):
    inputs = maps(num_steps)
    outs = MODELS.build(dict(type='mmbsa.TemporalReadout', mode=mode))(inputs)
    for out, x in zip(outs, inputs):
        torch.testing.assert_close(out, expected(x))


@pytest.mark.seg
def test_readout_wraps_a_stock_neck():
    pytest.importorskip('mmseg')
    neck = MODELS.build(
        dict(
            type='mmbsa.TemporalReadout',
            neck=dict(type='mmseg.FPN', in_channels=list(CHANNELS), out_channels=6, num_outs=4),
        )
    )
    assert [tuple(o.shape) for o in neck(maps())] == [(2, 6, *s) for s in SIZES] + [(2, 6, 2, 2)]


def test_readout_says_what_it_expects():
    with pytest.raises(ValueError, match='mode'):
        MODELS.build(dict(type='mmbsa.TemporalReadout', mode='median'))
    with pytest.raises(ValueError, match='T, B, C, H, W'):
        MODELS.build(dict(type='mmbsa.TemporalReadout'))([torch.zeros(1, 3, 4, 4)])


@pytest.mark.parametrize('num_steps', [1, 2])
def test_spike_fpn(num_steps):
    neck = MODELS.build(
        dict(
            type='mmbsa.SpikeFPN',
            in_channels=CHANNELS,
            out_channels=6,
            num_outs=4,
            num_steps=num_steps,
        )
    )
    outs = neck(maps(num_steps))
    assert [tuple(o.shape) for o in outs] == [(num_steps, 2, 6, *s) for s in SIZES] + [
        (num_steps, 2, 6, 2, 2)
    ]
    sum(o.square().mean() for o in outs).backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_spike_fpn_adds_the_coarser_lateral():
    """Without neurons and norms the pyramid is linear, and the coarsest map reaches the finest
    output."""
    neck = MODELS.build(dict(type='mmbsa.SpikeFPN', in_channels=CHANNELS, out_channels=6)).eval()
    inputs = maps(1)
    before = neck(inputs)[0]
    inputs[2] = inputs[2] + 3
    assert not torch.equal(neck(inputs)[0], before)


def test_spike_fpn_names_the_key():
    with pytest.raises(ValueError, match='num_outs'):
        MODELS.build(dict(type='mmbsa.SpikeFPN', in_channels=CHANNELS, out_channels=6, num_outs=2))
    with pytest.raises(ValueError, match='in_channels'):
        MODELS.build(dict(type='mmbsa.SpikeFPN', in_channels=CHANNELS, out_channels=6))(maps()[:2])
