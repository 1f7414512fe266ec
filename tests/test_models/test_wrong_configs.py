"""Mistakes that people make in a config, and the message that each of them gets."""

from copy import deepcopy

import pytest
import torch

pytest.importorskip('mmseg')
from mmseg.registry import MODELS  # noqa: E402

ARCH = dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2)
BSA = dict(type='mmbsa.BipolarSelfAttention')
BACKBONE = dict(type='mmbsa.ESpikeFormer', arch=ARCH, attention=BSA)
FCN = dict(
    type='FCNHead',
    in_channels=24,
    in_index=3,
    channels=8,
    num_convs=1,
    num_classes=3,
    concat_input=False,
)
SPIKE_FPN = dict(type='mmbsa.SpikeFPN', in_channels=(4, 8, 16, 24), out_channels=8)
SPIKE_HEAD = dict(
    type='mmbsa.SpikeFPNHead',
    in_channels=[8] * 4,
    in_index=[0, 1, 2, 3],
    channels=8,
    num_classes=3,
    feature_strides=(4, 8, 16, 32),
)


def segmentor(**changes):
    """A right config with some keys replaced; ``backbone__attention=...`` reaches into a part."""
    cfg = dict(
        type='EncoderDecoder',
        backbone=deepcopy(BACKBONE),
        neck=dict(type='mmbsa.TemporalReadout'),
        decode_head=deepcopy(FCN),
    )
    for key, value in changes.items():
        part, _, name = key.partition('__')
        if name:
            cfg[part][name] = value
        else:
            cfg[part] = value
    return {key: value for key, value in cfg.items() if value is not None}


def run(cfg):
    return MODELS.build(cfg)(torch.zeros(1, 3, 32, 32))


def test_the_right_config_runs():
    assert run(segmentor()).shape[:2] == (1, 3)


@pytest.mark.parametrize(
    'changes, error, words',
    [
        # names
        (dict(backbone__type='mmbsa.ESpikformer'), KeyError, "Did you mean 'mmbsa.ESpikeFormer'"),
        (
            dict(backbone__attention=dict(type='BipolarSelfAttention2')),
            KeyError,
            r"attention.type='BipolarSelfAttention2'.*Did you mean 'mmbsa.BipolarSelfAttention'",
        ),
        (
            dict(backbone__attention=dict(type='mmbsa.BipolarAttention')),
            KeyError,
            "Did you mean 'mmbsa.BipolarSelfAttention'",
        ),
        (
            dict(backbone__attention=dict(type='mmbsa.LIFNode')),
            TypeError,
            'attention.type=.* is not a subclass of AttentionKind',
        ),
        (dict(backbone__attention='bsa'), TypeError, 'attention must be a config such as dict'),
        (
            dict(backbone__neuron=dict(type='mmbsa.LIFnode')),
            KeyError,
            "neuron.type=.*'mmbsa.LIFNode'",
        ),
        (dict(backbone__neuron=dict(tau=2.0)), TypeError, 'neuron must be a config such as dict'),
        (dict(backbone__arch='mm'), KeyError, r"arch='mm' is unknown; use one of t, s, m, l"),
        (dict(backbone__arch=7), TypeError, 'arch must be the name of a preset or a dict, got 7'),
        (
            dict(neck__type='mmbsa.TemporalReadOut'),
            KeyError,
            "Did you mean 'mmbsa.TemporalReadout'",
        ),
        # arguments
        (
            dict(backbone__num_step=4),
            TypeError,
            r"ESpikeFormer has no argument 'num_step' \(did you mean 'num_steps'\?\)",
        ),
        (
            dict(backbone__attention=dict(BSA, normaliser='none')),
            TypeError,
            "did you mean 'normalizer'.*it takes embed_dims",
        ),
        (
            dict(backbone__attention=dict(BSA, normalizer='shift')),
            ValueError,
            "normalizer must be 'shiftmax', 'softmax' or",
        ),
        (
            dict(backbone__attention=dict(BSA, ternary=0.5)),
            TypeError,
            'ternary must be a dict such as',
        ),
        (
            dict(backbone__neuron=dict(type='mmbsa.LIFNode', taw=2.0)),
            TypeError,
            'LIFNode has no argument taw; it takes tau',
        ),
        (
            dict(backbone__neuron=dict(type='mmbsa.IntegerNode', levels=0)),
            ValueError,
            'levels must be an integer >= 1',
        ),
        (dict(neck__mode='median'), ValueError, 'mode must be one of mean, sum, max, last'),
        (
            dict(neck__modes='mean'),
            TypeError,
            "TemporalReadout has no argument 'modes'.*did you mean 'mode'",
        ),
        (dict(backbone__readout='median'), ValueError, 'readout must be None or one of mean'),
        (dict(backbone__out_indices=(3, 1)), ValueError, r'out_indices=\(3, 1\) must be ascending'),
        (
            dict(backbone__arch=dict(embed_dims=(8, 16))),
            ValueError,
            'arch.embed_dims must have .* 4 entries',
        ),
        (
            dict(backbone__arch=dict(ARCH, heads=4)),
            ValueError,
            'arch must have the keys embed_dims and may have the keys .*num_heads',
        ),
        (
            dict(backbone__arch=dict(ARCH, num_heads=5)),
            ValueError,
            'num_heads=5 does not divide embed_dims=16',
        ),
        (
            dict(backbone__encoder=dict(type='mmbsa.LIFNode')),
            TypeError,
            'backbone.encoder.type=.* is not a subclass of Encoder',
        ),
        # parts that do not fit each other
        (
            dict(neck=None),
            ValueError,
            r"\(T, B, C, H, W\).*set backbone.readout='mean', or put neck=.*TemporalReadout",
        ),
        (
            dict(backbone__readout='mean', neck=dict(type='mmbsa.TemporalReadout')),
            ValueError,
            'map 0 has shape',
        ),
        (
            dict(backbone__num_steps=4, neck=dict(SPIKE_FPN, num_steps=1), decode_head=SPIKE_HEAD),
            ValueError,
            'neck.num_steps=1, but backbone.num_steps=4',
        ),
        (
            dict(backbone__num_steps=4, neck=SPIKE_FPN, decode_head=dict(SPIKE_HEAD, num_steps=2)),
            ValueError,
            'decode_head.num_steps=2, but backbone.num_steps=4',
        ),
        (
            dict(neck=dict(SPIKE_FPN, in_channels=(4, 8, 16)), decode_head=SPIKE_HEAD),
            ValueError,
            'got 4 maps for in_channels',
        ),
        (
            dict(neck=dict(SPIKE_FPN, in_channels=(4, 8, 16, 32)), decode_head=SPIKE_HEAD),
            ValueError,
            r'neck.in_channels=\(4, 8, 16, 32\), but the maps have \(4, 8, 16, 24\) channels',
        ),
    ],
)
def test_wrong_config_is_answered(changes, error, words):
    with pytest.raises(error, match=words):
        run(segmentor(**changes))


@pytest.mark.parametrize(
    'key, value, words',
    [
        (
            'arch',
            dict(ARCH, depths=3.5),
            'ESpikeFormer: arch=.*depths.* cannot be built: TypeError',
        ),
        ('arch', dict(ARCH, num_heads=True), 'arch.num_heads=True must not be a bool'),
        ('arch', dict(ARCH, embed_dims=(8, 16, 16, -24)), 'embed_dims'),
        (
            'neuron',
            dict(type='mmbsa.LIFNode', tau=(1,)),
            r'LIFNode: SpikingJelly does not accept tau=\(1,\)',
        ),
        ('readout', {}, 'readout must be None or one of'),
        ('neuron', dict(type='mmbsa.LIFNode', surrogate_function=0), 'surrogate_function must be'),
        ('attention', dict(BSA, ternary=dict(v_threshold=None)), 'ternary.v_threshold must be a'),
    ],
)
def test_values_that_python_or_torch_refuse_are_named(key, value, words):
    cfg = dict(BACKBONE, neuron=dict(type='mmbsa.LIFNode', tau=2.0))
    with pytest.raises((ValueError, TypeError), match=words):
        MODELS.build({**cfg, key: value})


def test_one_line_is_enough_with_a_readout():
    """The map of a backbone with a readout goes straight into a stock head."""
    assert run(segmentor(neck=None, backbone__readout='mean')).shape[:2] == (1, 3)


@pytest.mark.parametrize('kind', ['str', 'class'])
def test_types_may_be_classes(kind):
    from mmbsa.models.attentions import BipolarSelfAttention
    from mmbsa.models.backbones import ESpikeFormer
    from mmbsa.models.encoders import DirectEncoder
    from mmbsa.models.necks import TemporalReadout
    from mmbsa.models.neurons import IntegerNode

    types = [ESpikeFormer, BipolarSelfAttention, IntegerNode, DirectEncoder, TemporalReadout]
    if kind == 'str':
        types = [f'mmbsa.{cls.__name__}' for cls in types]
    family, attention, neuron, encoder, neck = types
    cfg = segmentor(
        backbone=dict(
            type=family,
            arch=ARCH,
            attention=dict(type=attention),
            neuron=dict(type=neuron),
            encoder=dict(type=encoder),
        ),
        neck=dict(type=neck),
    )
    assert run(cfg).shape[:2] == (1, 3)
