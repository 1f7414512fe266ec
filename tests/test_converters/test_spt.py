"""Spiking Point Transformer: what its fixtures hold beside those of all families, and other modes.

Outputs, gradients and buffers are judged by ``test_parity.py``.
"""

import pytest
import torch
from test_parity import NAMES, ORACLE, load

pytest.importorskip('mmpretrain')
from mmbsa.converters import build_from_official  # noqa: E402
from mmbsa.models.points import MixtureNode  # noqa: E402

FIXTURES = [name for name in NAMES if name.startswith('spt')]


@pytest.fixture(scope='module', params=FIXTURES or ['none'])
def case(request):
    if not FIXTURES:
        pytest.skip(f'no fixtures in {ORACLE} (set MMBSA_ORACLE_DIR)')
    return load(request.param)


@pytest.mark.shared
@torch.no_grad()
def test_single_samples(case):
    """With a batch of one the published code reads membranes in another order of channels."""
    meta, tensors, model = case
    model.eval()
    outputs = torch.cat([model(cloud[None]) for cloud in tensors['input']])
    expected = tensors['eval.per_sample.output']
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.shared
@torch.no_grad()
def test_encoder_hands_on_the_official_points(case):
    meta, tensors, model = case
    if 'probe.encoder_output' not in tensors:
        assert not meta['constructor_args']['model']['use_encoder']
        pytest.skip('without an encoder the cloud is repeated')
    steps = model.backbone.encoder(tensors['input'])
    assert torch.equal(steps, tensors['probe.encoder_output'])


def official_state(mode):
    """A state dict under official names, written from one of our models of that mode."""
    from mmbsa.converters.base import get_recipe, rename
    from mmbsa.converters.spt import NEURONS
    from mmbsa.registry import MODELS

    neuron = NEURONS[mode]
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmbsa.PointDataPreprocessor'),
            backbone=dict(
                type='mmbsa.SpikingPointTransformer',
                base_channels=4,
                embed_dims=8,
                depths=(1, 1),
                encoder=dict(type='mmbsa.PointQueueEncoder', num_steps=2, num_samples=8),
                neuron=neuron,
            ),
            head=dict(type='mmbsa.PointClsHead', num_classes=3, in_channels=8, neuron=neuron),
        )
    )
    ours = model.state_dict()
    names = []
    for old in ('transformer1.0', 'transformers.0'):
        names += [f'backbone.{old}.fc1.0.{k}' for k in ('gate.weight', 'gate.bias', 'experts.2.w')]
        names += [f'backbone.{old}.{k}' for k in _unit('fc1', 1, 2, 3)]
        names += [f'backbone.{old}.{k}' for k in _unit('fc2', 1, 2, 0)]
        for part in ('fc_delta', 'fc_gamma'):
            names += [f'backbone.{old}.{k}' for k in _unit(part, 1, 2, 0) + _unit(part, 4, 5, 3)]
        names.append(f'backbone.{old}.fc_delta.6.w')
        for part in ('w_qs', 'w_ks', 'w_vs'):
            names += [f'backbone.{old}.{k}' for k in _unit(part, 0, 1, 2)]
    for number in '01':
        sa = 'backbone.transition_downs.0.sa.mlp'
        names += [f'{sa}_convs.{number}.{k}' for k in ('weight', 'bias')]
        names += [f'{sa}_bns.{number}.{k}' for k in NORM] + [f'{sa}_lifs.{number}.w']
    names += [f'backbone.{k}' for k in _unit('fc1', 0, 1, 2) + _unit('fc1', 3, 4, None)]
    names += _unit('fc2', 1, 2, 0) + _unit('fc2', 4, 5, 3)
    names += ['fc2.7.weight', 'fc2.7.bias', 'fc2.6.w']
    names = [
        name for name in names if mode == 'plif' or not name.endswith('.w') or 'experts' in name
    ]
    keys, _ = rename(dict.fromkeys(names), get_recipe('spt_fixed'))
    assert set(keys) == set(ours)
    return {official: ours[key] for key, official in keys.items()}, model


NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


def _unit(part, conv, norm, neuron):
    names = [f'{part}.{conv}.{k}' for k in ('weight', 'bias')] + [
        f'{part}.{norm}.{k}' for k in NORM
    ]
    return names + ([] if neuron is None else [f'{part}.{neuron}.w'])


@pytest.mark.parametrize('mode', ['lif', 'plif', 'elif', 'if'])
@torch.no_grad()
def test_every_mode_of_spiking_is_converted(mode):
    torch.manual_seed(0)
    state, model = official_state(mode)
    args = dict(num_samples=8, spike_mode=mode)
    converted = build_from_official('spt_fixed', state, model=args, T=2)
    points = 2 * torch.randn(2, 16, 6)
    assert torch.equal(converted.eval()(points), model.eval()(points))
    mixtures = [m for m in converted.modules() if isinstance(m, MixtureNode)]
    assert mixtures and not any(m.official_quirks for m in mixtures)
    quirky = build_from_official('spt', state, model=args, T=2)
    assert all(m.official_quirks for m in quirky.modules() if isinstance(m, MixtureNode))


def test_other_modes_and_other_tensors_are_refused():
    state, _ = official_state('lif')
    with pytest.raises(ValueError, match='spike_mode'):
        build_from_official('spt', state, model=dict(spike_mode=None))
    with pytest.raises(KeyError, match='is this a state dict of the official'):
        build_from_official('spt', {})
