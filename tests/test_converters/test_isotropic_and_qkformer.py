"""What no fixture covers in the recipes of Spikformer, Spikingformer and QKFormer: events, inferred
sizes, errors."""

import pytest
import torch

from mmbsa.converters import build_from_official

D = 32


def norm(name, channels):
    state = {
        f'{name}.{key}': torch.rand(channels) + 0.5
        for key in ('weight', 'bias', 'running_mean', 'running_var')
    }
    return {**state, f'{name}.num_batches_tracked': torch.tensor(7)}


def unit(name, shape, conv='conv', bias=False, number=''):
    """Tensors of a convolution or linear layer and of the norm behind it, under official names."""
    state = {
        f'{name}_{conv}{number}.weight': torch.randn(shape),
        **norm(f'{name}_bn{number}', shape[0]),
    }
    return {**state, f'{name}_{conv}{number}.bias': torch.randn(shape[0])} if bias else state


def block(
    name, dims, attention='attn', mlp='fc', names='qkv', mlp_shape=(1,), ratio=4, layer_norms=True
):
    state = {}
    for projection in names:
        state |= unit(f'{name}.{attention}.{projection}', (dims, dims, 1))
    state |= unit(f'{name}.{attention}.proj', (dims, dims, 1), bias=True)
    state |= unit(f'{name}.mlp.{mlp}1', (ratio * dims, dims, *mlp_shape), bias=True)
    state |= unit(f'{name}.mlp.{mlp}2', (dims, ratio * dims, *mlp_shape), bias=True)
    for n in (1, 2) if layer_norms else ():
        state |= {
            f'{name}.norm{n}.weight': torch.ones(dims),
            f'{name}.norm{n}.bias': torch.zeros(dims),
        }
    return state


def head(classes=10):
    return {'head.weight': torch.randn(classes, D), 'head.bias': torch.randn(classes)}


def spikformer_dvs():
    state = {
        'pos_embed': torch.zeros(1, 64, D),
        'norm.weight': torch.ones(D),
        'norm.bias': torch.zeros(D),
        **head(),
    }
    widths = (2, D // 8, D // 4, D // 2, D)
    for n, number in enumerate(('', '1', '2', '3')):
        state |= unit('patch_embed.proj', (widths[n + 1], widths[n], 3, 3), number=number)
    state |= unit('patch_embed.rpe', (D, D, 3, 3))
    return {**state, **block('block.0', D), **block('block.1', D)}


def spikingformer_dvs():
    state, widths = head(11), (2, D // 8, D // 4, D // 2, D, D)
    for n, name in enumerate(('proj', 'proj1', 'proj2', 'proj3', 'proj4')):
        state |= unit(f'patch_embed.{name}', (widths[n + 1], widths[n], 3, 3))
    return {**state, **block('block.0', D, mlp='mlp', mlp_shape=(1, 1))}


def qkformer_dvs(ratio=1):
    half = D // 2
    state, widths = head(), (2, half // 8, half // 4, half // 2, half)
    for n, name in enumerate(('proj', 'proj1', 'proj2', 'proj3')):
        state |= unit(f'patch_embed1.{name}', (widths[n + 1], widths[n], 3, 3))
    state |= unit('patch_embed1.proj_res', (half, half // 4, 1, 1))
    for name, shape in (
        ('proj', (D, half, 3, 3)),
        ('proj4', (D, D, 3, 3)),
        ('proj_res', (D, half, 1, 1)),
    ):
        state |= unit(f'patch_embed2.{name}', shape)
    options = dict(mlp='mlp', mlp_shape=(1, 1), ratio=ratio, layer_norms=False)
    return {
        **state,
        **block('stage1.0', half, 'tssa', names='qk', **options),
        **block('stage2.0', D, 'ssa', **options),
    }


@pytest.mark.parametrize(
    'source, state, unused, tau',
    [
        ('spikformer_dvs', spikformer_dvs(), 3 + 8, 2.0),
        ('spikingformer_dvs', spikingformer_dvs(), 4, 1.5),
        ('qkformer_dvs', qkformer_dvs(), 0, 2.0),
        ('qkformer_dvs_sepT', qkformer_dvs(4), 0, 2.0),
    ],
)
def test_event_models(source, state, unused, tau):
    model = build_from_official(source, state, num_heads=4, T=3).eval()
    assert len(model.conversion_report.unused) == unused
    used = set(state) - set(model.conversion_report.unused)
    assert sum(state[k].numel() for k in used) == sum(
        v.numel() for v in model.state_dict().values()
    )
    for key, official in model.conversion_report.keys.items():
        assert torch.equal(model.state_dict()[key].flatten(), state[official].flatten())
    taus = {m.tau for m in model.modules() if type(m).__name__ == 'LIFNode'}
    assert taus == {tau}
    assert model(torch.randn(2, 3, 2, 64, 64)).shape == (2, len(state['head.bias']))


def test_event_constants():
    backbone = build_from_official('spikformer_dvs', spikformer_dvs(), num_heads=4).backbone
    assert {block[0].branch.attn.options['scale'] for block in backbone.stages[3][1:]} == {0.25}
    assert [info['reduction'] for info in backbone.feature_info] == [2, 4, 8, 16]
    backbone = build_from_official('qkformer_dvs', qkformer_dvs(2)).backbone
    block = backbone.stages[1][1]
    assert block[0].branch.attn.num_heads == 16, 'the official constructor overwrites num_heads'
    assert type(block[0].branch.last_neuron).__name__ == 'BatchAsTime'
    assert block[1].branch[0].conv.out_channels == 2 * D


def test_published_heads_are_found_by_width():
    state = spikformer_dvs()
    with pytest.raises(ValueError, match='num_heads'):
        build_from_official('spikformer_dvs', state)
    assert build_from_official('spikformer_dvs', state, num_heads=8).backbone.num_steps == 4


@pytest.mark.parametrize(
    'source, state',
    [
        ('spikformer_dvs', spikformer_dvs()),
        ('spikingformer_dvs', spikingformer_dvs()),
        ('qkformer_dvs', qkformer_dvs()),
    ],
)
def test_misfits_are_named(source, state):
    with pytest.raises(ValueError, match='embed_dims=64'):
        build_from_official(source, state, num_heads=4, embed_dims=64)
    bias = next(key for key in state if key.endswith('proj_conv.bias'))
    with pytest.raises(KeyError, match='Missing for the model'):
        build_from_official(source, {k: v for k, v in state.items() if k != bias}, num_heads=4)
    with pytest.raises(KeyError, match='extra.weight'):
        build_from_official(source, {**state, 'extra.weight': torch.zeros(1)}, num_heads=4)
    with pytest.raises(KeyError, match='is this a state dict of the official'):
        build_from_official(source, {'layer1.weight': torch.zeros(1)}, num_heads=4)
