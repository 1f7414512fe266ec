"""Official layouts and options that no fixture has: what their forward computes, restated from its
description."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from mmbsa.converters import build_from_official
from mmbsa.models.neurons import build_neuron

SEED = torch.Generator()


def randn(*shape, gain=1.0):
    return gain * torch.randn(*shape, generator=SEED)


def norm(name, channels):
    state = {
        f'{name}.{key}': 0.5 + torch.rand(channels, generator=SEED)
        for key in ('weight', 'bias', 'running_var')
    }
    state[f'{name}.weight'] *= 2
    return {
        **state,
        f'{name}.running_mean': randn(channels, gain=0.1),
        f'{name}.num_batches_tracked': torch.tensor(3),
    }


def conv(name, *shape, bias=False):
    fan_in = torch.Size(shape[1:]).numel()
    state = {f'{name}.weight': randn(*shape, gain=fan_in**-0.5)}
    return {**state, f'{name}.bias': randn(shape[0], gain=0.1)} if bias else state


class Run:
    """Layers of a state dict in evaluation mode, on (B, C, H, W), one step."""

    def __init__(self, state, neuron):
        self.state, self.neuron = state, neuron

    def norm(self, x, name):
        s = self.state
        mean, var, weight, bias = (
            s[f'{name}.{k}'] for k in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias)

    def conv(self, x, name, stride=1):
        weight = self.state[f'{name}.weight']
        weight = weight.reshape(
            *weight.shape[:2], *(weight.shape[2:] if weight.dim() == 4 else (1, 1))
        )
        return F.conv2d(x, weight, self.state.get(f'{name}.bias'), stride, weight.shape[-1] // 2)

    def fire(self, x, **kwargs):
        return build_neuron({**self.neuron, **kwargs})(x[None])[0]


def large_state(branch):
    """Names of the official file for 83M (with the extra branch) and 171M."""
    SEED.manual_seed(3)
    dims, state = (4, 8, 16, 24), {}
    for name, (c_in, c_out, k) in {
        '1_1': (3, 4, 7),
        '1_2': (4, 8, 3),
        '2': (8, 16, 3),
        '3': (16, 24, 3),
    }.items():
        state |= conv(f'downsample{name}.encode_conv', c_out, c_in, k, k, bias=True)
        state |= norm(f'downsample{name}.encode_bn', c_out)
    for name, c in {'1_1': dims[0], '1_2': dims[1], '2_1': dims[2], '2_2': dims[2]}.items():
        for n, shape in ((1, (4 * c, c)), (2, (c, 4 * c))):
            state |= conv(f'ConvBlock{name}.0.conv{n}.0.0', *shape, 3, 3, bias=True)
            state |= norm(f'ConvBlock{name}.0.conv{n}.0.1', shape[0])
    c = dims[3]

    def chain(name, hidden):
        for n, shape in ((1, (hidden, c)), (2, (c, hidden))):
            yield from {
                **conv(f'{name}.conv{n}.0', *shape, 1),
                **norm(f'{name}.conv{n}.1', shape[0]),
            }.items()

    for i in range(2):
        block = f'block3.{i}'
        if branch:
            state |= dict(chain(f'{block}.rep_conv', c))
        for name in ('q', 'k', 'v', 'proj'):
            state |= dict(chain(f'{block}.attn.{name}_conv.0', 36)) | norm(
                f'{block}.attn.{name}_conv.1', c
            )
        for n, shape in ((1, (4 * c, c)), (2, (c, 4 * c))):
            state |= conv(f'{block}.mlp.fc{n}_conv', *shape, 1, bias=True) | norm(
                f'{block}.mlp.fc{n}_bn', shape[0]
            )
        state |= {f'{block}.layer_scale{n}': 0.5 + torch.rand(c, generator=SEED) for n in (1, 2)}
    return {**state, **conv('head', 7, c, bias=True), **conv('head_kd', 7, c, bias=True)}


def large_forward(run, x, branch):
    def chain(x, name):
        for n in (1, 2):
            x = run.norm(run.conv(x, f'{name}.conv{n}.0'), f'{name}.conv{n}.1')
        return x

    for down, blocks, stride in (
        ('1_1', ('1_1',), 2),
        ('1_2', ('1_2',), 2),
        ('2', ('2_1', '2_2'), 2),
        ('3', (), 2),
    ):
        x = x if down == '1_1' else run.fire(x)
        x = run.norm(
            run.conv(x, f'downsample{down}.encode_conv', stride), f'downsample{down}.encode_bn'
        )
        for block in blocks:
            y = x
            for unit in (f'ConvBlock{block}.0.conv{n}.0' for n in (1, 2)):
                y = run.norm(run.conv(run.fire(y), f'{unit}.0'), f'{unit}.1')
            x = x + y
    for i in range(2):
        block = f'block3.{i}'
        if branch:
            x = x + chain(run.fire(x), f'{block}.rep_conv')
        spikes, heads = run.fire(x), {}
        for name in 'qkv':
            projected = run.norm(
                chain(spikes, f'{block}.attn.{name}_conv.0'), f'{block}.attn.{name}_conv.1'
            )
            heads[name] = run.fire(projected).flatten(2).unflatten(1, (4, 6))  # (B, heads, d, N)
        out = torch.einsum('bhdn,bhdm,bhem->bhen', heads['q'], heads['k'], heads['v']) * 0.125
        out = run.fire(out.flatten(1, 2).unflatten(2, x.shape[-2:]))
        out = run.norm(chain(out, f'{block}.attn.proj_conv.0'), f'{block}.attn.proj_conv.1')
        x = x + out * run.state[f'{block}.layer_scale1'].view(-1, 1, 1)
        y = x
        for n in (1, 2):
            y = run.norm(run.conv(run.fire(y), f'{block}.mlp.fc{n}_conv'), f'{block}.mlp.fc{n}_bn')
        x = x + y * run.state[f'{block}.layer_scale2'].view(-1, 1, 1)
    x = x.mean((2, 3))
    linear = [
        F.linear(a, run.state[f'{name}.weight'], run.state[f'{name}.bias'])
        for name, a in (('head', x), ('head_kd', run.fire(x, norm=1)))
    ]
    return sum(linear) / 2


@pytest.mark.parametrize('levels', [4, 8])
@pytest.mark.parametrize('source, branch', [('sdt_v3_83m', True), ('sdt_v3_171m', False)])
def test_espikeformer_large(source, branch, levels):
    state = large_state(branch)
    model = build_from_official(source, state, num_heads=4, levels=levels).eval()
    assert not model.conversion_report.unused
    x = randn(2, 3, 32, 48)
    run = Run(
        state, dict(type='mmbsa.IntegerNode', levels=levels, rounding='half_up', window='exclusive')
    )
    expected = large_forward(run, x, branch)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
    assert not torch.equal(model(x)[0], model(x)[1])
    assert len(model.train()(x)) == 2
    single = {k: v for k, v in state.items() if not k.startswith('head_kd')}
    assert build_from_official(source, single, num_heads=4).eval()(x).shape == (2, 7)


def v1_state(ratio=4, parametric=False):
    SEED.manual_seed(5)
    d, state = 16, {}
    for number, c_in, c_out in (('', 2, 2), ('1', 2, 4), ('2', 4, 8), ('3', 8, 16)):
        state |= conv(f'patch_embed.proj_conv{number}', c_out, c_in, 3, 3) | norm(
            f'patch_embed.proj_bn{number}', c_out
        )
    state |= conv('patch_embed.rpe_conv', d, d, 3, 3) | norm('patch_embed.rpe_bn', d)
    neurons = [
        f'patch_embed.{name}'
        for name in ('proj_lif', 'proj_lif1', 'proj_lif2', 'proj_lif3', 'rpe_lif')
    ]
    for name in ('q', 'k', 'v', 'proj'):
        state |= conv(f'block.0.attn.{name}_conv', d, d, 1, 1, bias=name == 'proj') | norm(
            f'block.0.attn.{name}_bn', d
        )
    for name in 'qkv':  # alive within one step
        state[f'block.0.attn.{name}_bn.bias'] += 1.0
    for n, shape in ((1, (ratio * d, d)), (2, (d, ratio * d))):
        state |= conv(f'block.0.mlp.fc{n}_conv', *shape, 1, 1, bias=True) | norm(
            f'block.0.mlp.fc{n}_bn', shape[0]
        )
    neurons += [
        f'block.0.{n}_lif'
        for n in (
            'attn.shortcut',
            'attn.q',
            'attn.k',
            'attn.v',
            'attn.attn',
            'attn.talking_heads',
            'mlp.fc1',
            'mlp.fc2',
        )
    ]
    state |= {'block.0.attn.talking_heads.weight': randn(4, 4, 1), **conv('head', 5, d, bias=True)}
    if parametric:
        state |= {f'{name}.w': randn(1)[0] for name in (*neurons, 'head_lif')}
    return state


def v1_forward(state, x, pooling):
    """Features, attention and logits of one official step; after one step, LIF neurons hold half of
    their input."""
    run = Run(state, dict(type='mmbsa.LIFNode', tau=2.0, detach_reset=True))

    def fire(x, name, threshold=1.0):
        if f'{name}.w' not in state:
            return run.fire(x, v_threshold=threshold)
        return (x * torch.sigmoid(state[f'{name}.w']) >= threshold).float()

    def pool(x, digit):
        return F.max_pool2d(x, 3, 2, 1) if digit == '1' else x

    for number, digit in zip(('', '1', '2'), pooling):
        x = run.norm(run.conv(x, f'patch_embed.proj_conv{number}'), f'patch_embed.proj_bn{number}')
        x = pool(fire(x, f'patch_embed.proj_lif{number}'), digit)
    x = pool(run.norm(run.conv(x, 'patch_embed.proj_conv3'), 'patch_embed.proj_bn3'), pooling[3])
    x = x + run.norm(
        run.conv(fire(x, 'patch_embed.proj_lif3'), 'patch_embed.rpe_conv'), 'patch_embed.rpe_bn'
    )
    attn, mlp = 'block.0.attn', 'block.0.mlp'
    spikes = fire(x, f'{attn}.shortcut_lif')
    q, k, v = (
        fire(run.norm(run.conv(spikes, f'{attn}.{n}_conv'), f'{attn}.{n}_bn'), f'{attn}.{n}_lif')
        for n in 'qkv'
    )
    kept = q * fire((k * v).sum((2, 3), keepdim=True), f'{attn}.talking_heads_lif', 0.5)
    x = x + run.norm(run.conv(kept, f'{attn}.proj_conv'), f'{attn}.proj_bn')
    y = run.norm(run.conv(fire(x, f'{mlp}.fc1_lif'), f'{mlp}.fc1_conv'), f'{mlp}.fc1_bn')
    if y.shape == x.shape:  # ratio 1
        x = y = x + y
    x = x + run.norm(run.conv(fire(y, f'{mlp}.fc2_lif'), f'{mlp}.fc2_conv'), f'{mlp}.fc2_bn')
    spikes = fire(x.mean((2, 3)), 'head_lif')
    return x, kept, F.linear(spikes, state['head.weight'], state['head.bias'])


@pytest.mark.parametrize(
    'ratio, parametric, pooling', [(1, False, '1111'), (2, True, '0011'), (4, False, '0111')]
)
def test_sdt_v1_options(ratio, parametric, pooling):
    state = v1_state(ratio, parametric)
    model = build_from_official('sdt_v1', state, num_heads=4, T=1, pooling_stat=pooling).eval()
    x = 3 * randn(4, 2, 32, 48)
    features, kept, logits = v1_forward(state, x, pooling)
    torch.testing.assert_close(model.backbone(x)[-1][0], features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(x), logits, atol=1e-5, rtol=1e-5)
    assert 0 < kept.mean() < 1 and not torch.equal(features[0], features[1])
    unused = {'block.0.attn.talking_heads.weight'}
    if parametric:
        unused |= {'block.0.attn.attn_lif.w', 'patch_embed.rpe_lif.w'}
    assert set(model.conversion_report.unused) == unused


def test_sdt_v1_events_of_the_published_model():
    model = build_from_official('sdt_v1_dvs', v1_state(), num_heads=4, T=3, TET=True).eval()
    assert model(randn(2, 3, 2, 32, 32)).shape == (3, 2, 5)
    assert [info['reduction'] for info in model.backbone.feature_info] == [1, 1, 2, 4]
    assert model.backbone.stages[3][1][0].branch.attn.dilate == 'official'
    plain = build_from_official('sdt_v1_dvs', v1_state(), num_heads=4, T=3, dvs_mode=False)
    assert plain.backbone.stages[3][1][0].branch.attn.dilate is None
    with pytest.raises(ValueError, match='spike_mode'):
        build_from_official('sdt_v1', v1_state(), num_heads=4, spike_mode='plif')


@pytest.mark.parametrize(
    'source, words',
    [
        ('sdt_v1', 'SpikeDrivenTransformer'),
        ('sdt_v1_dvs', 'SpikeDrivenTransformer'),
        ('sdt_v2', 'MetaSpikeFormer'),
        ('sdt_v3_83m', 'ESpikeFormerLarge'),
        ('sdt_v3_171m', 'ESpikeFormerLarge'),
        ('spikingresformer', 'SpikingResformer'),
    ],
)
def test_other_state_dicts_are_named(source, words):
    with pytest.raises(KeyError, match=f'is this a state dict of the official {words}'):
        build_from_official(source, {'layer1.weight': torch.zeros(1)})


def test_sizes_that_contradict_the_arguments_are_named():
    with pytest.raises(ValueError, match='embed_dims=384'):
        build_from_official('sdt_v1', v1_state(), num_heads=4, embed_dims=384)
    with pytest.raises(ValueError, match='embed_dim='):
        build_from_official('sdt_v3_171m', large_state(False), embed_dim=[192, 384, 768])


def test_spikingresformer_with_parametric_neurons():
    """The gesture model: a 3 x 3 stem, and a learnable time constant in every neuron."""
    SEED.manual_seed(7)
    dims, groups, state = (8, 16), 16, {}
    state |= conv('prologue.0', 8, 3, 3, 3) | norm('prologue.1.bn', 8)
    names = []
    for s, (c, heads, patch) in enumerate(zip(dims, (1, 2), (2, 1))):
        first = 0
        if s:
            state |= conv('layers.1.0.conv', c, dims[0], 3, 3) | norm('layers.1.0.norm.bn', c)
            names.append('layers.1.0.activation')
            first = 1
        attn, ffn = f'layers.{s}.{first}', f'layers.{s}.{first + 1}'
        state |= {
            f'{attn}.firing_rate_{k}': 0.1 + torch.rand(1, 1, heads, 1, 1, generator=SEED)
            for k in ('x', 'attn')
        }
        state |= conv(f'{attn}.W', 2 * c, c, patch, patch) | norm(f'{attn}.norm.bn', 2 * c)
        state |= conv(f'{attn}.Wproj', c, c, 1, 1) | norm(f'{attn}.norm_proj.bn', c)
        state |= conv(f'{ffn}.up.1', 4 * c, c, 1, 1) | norm(f'{ffn}.up.2.bn', 4 * c)
        state |= conv(f'{ffn}.conv.0.1', 4 * c, groups, 3, 3) | norm(f'{ffn}.conv.0.2.bn', 4 * c)
        state |= conv(f'{ffn}.down.1', c, 4 * c, 1, 1) | norm(f'{ffn}.down.2.bn', c)
        names += [f'{attn}.activation_{k}' for k in ('in', 'attn', 'out')]
        names += [f'{ffn}.{k}.0' for k in ('up', 'conv.0', 'down')]
    state |= {f'{name}.w': randn(1)[0] for name in names} | conv('classifier', 11, 16)
    model = build_from_official(
        'spikingresformer',
        state,
        T=3,
        img_size=16,
        planes=[8, 16],
        patch_sizes=[2, 1],
        layers=[['DSSA', 'GWFFN']] * 2,
    )
    weights = [p for n, p in model.named_parameters() if n.endswith('.w')]
    assert len(weights) == len(names) == 13
    # every neuron got the constant of its namesake: forward order is the order of the official
    # names
    assert torch.stack(weights).tolist() == [
        float(state[f'{name}.w']) for name in sorted(names, key=_forward_order)
    ]
    assert model.eval()(randn(2, 3, 3, 16, 16)).shape == (3, 2, 11)
    assert [m.length for m in model.modules() if hasattr(m, 'length')] == [64, 64]
    with pytest.raises(ValueError, match='repeat'):
        build_from_official('spikingresformer', state, layers=[['GWFFN']] * 2)


def _forward_order(name):
    parts = (
        'activation',
        'activation_in',
        'activation_attn',
        'activation_out',
        'up',
        'conv',
        'down',
    )
    _, stage, index, part = name.split('.')[:4]
    return int(stage), int(index), parts.index(part)


def test_sdt_v2_with_a_head_for_distillation(shared_path):
    """The official model returns both answers in training, and their mean in evaluation."""
    folder = shared_path('oracle')
    tensors, weights = (
        load_file(folder / f'sdt_v2.{kind}.safetensors') for kind in ('io', 'weights')
    )
    kd = {
        'head_kd.weight': weights['head.weight'].flip(0).clone(),
        'head_kd.bias': weights['head.bias'].flip(0).clone(),
    }
    model = build_from_official('sdt_v2', {**weights, **kd}, num_heads=4, T=4, kd=True)
    out, distilled = model(tensors['input'])
    torch.testing.assert_close(out, tensors['train.output'], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(distilled, tensors['train.output'].flip(1), atol=1e-5, rtol=1e-5)
    model = build_from_official('sdt_v2', {**weights, **kd}, num_heads=4, T=4).eval()
    expected = tensors['eval.output']
    torch.testing.assert_close(
        model(tensors['input']), (expected + expected.flip(1)) / 2, atol=1e-5, rtol=1e-5
    )


def test_spikingresformer_starts_its_rates_with_the_first_batch(shared_path):
    """Training output and rates of the official model whose rates start at zero."""
    folder = shared_path('oracle')
    tensors, weights = (
        load_file(folder / f'spikingresformer.{kind}.safetensors') for kind in ('io', 'weights')
    )
    args = json.loads((folder / 'spikingresformer.json').read_text())['constructor_args']
    weights = {k: torch.zeros_like(v) if 'firing_rate' in k else v for k, v in weights.items()}
    model = build_from_official('spikingresformer', weights, **args).train()
    out = model(tensors['input'])
    torch.testing.assert_close(out, tensors['train_fresh.output'], atol=1e-5, rtol=1e-5)
    ours = {official: key for key, official in model.conversion_report.keys.items()}
    stored = {
        k.removeprefix('train_fresh_buffers.'): v
        for k, v in tensors.items()
        if k.startswith('train_fresh_b')
    }
    assert len(stored) == 8
    for name, value in stored.items():
        torch.testing.assert_close(
            model.state_dict()[ours[name]], value.flatten(), atol=1e-6, rtol=1e-6
        )
