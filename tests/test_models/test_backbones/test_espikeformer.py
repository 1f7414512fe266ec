"""E-SpikeFormer: sizes as published, any input, any T, frozen parts, checkpointing, loading."""

import pytest
import torch
from torch import nn

from mmbsa.models.attentions import BipolarSelfAttention
from mmbsa.models.neurons import IntegerNode
from mmbsa.registry import MODELS

BSA = dict(type='mmbsa.BipolarSelfAttention')
TINY = dict(embed_dims=(8, 16, 16, 24), num_heads=2, depths=(1, 1))


def build(arch=TINY, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='mmbsa.ESpikeFormer', arch=arch, **kwargs))


def image(size=(32, 32), batch=2, channels=3, seed=0):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    'arch, parameters', [('t', 2_702_048), ('s', 5_105_608), ('m', 10_023_112), ('l', 18_987_504)]
)
@pytest.mark.parametrize('attention', [None, BSA])
def test_published_sizes(arch, parameters, attention):
    """architectures: with the 1000-class head; the attention has no parameters of its own."""
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type='mmbsa.SpikingClassifier',
                num_classes=1000,
                neuron=dict(type='mmbsa.IntegerNode', norm=1),
                backbone=dict(
                    type='mmbsa.ESpikeFormer', arch=arch, attention=attention, out_indices=(4,)
                ),
            )
        )
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (64, 16)])
@pytest.mark.parametrize('num_steps, attention', [(1, None), (1, BSA), (4, BSA), (2, None)])
def test_shapes_and_gradients(size, num_steps, attention):
    model = build(
        num_steps=num_steps, attention=attention, out_indices=(0, 1, 2, 3, 4), in_channels=2
    )
    outs = model(image(size, channels=2))
    for out, info in zip(outs, model.feature_info):
        expected = tuple(-(-s // info['reduction']) for s in size)
        assert out.shape == (num_steps, 2, info['num_chs'], *expected)
    sum(out.square().mean() for out in outs).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    first = model.stages[3][1][1].branch
    assert first.q.conv.weight.grad.any() and first.v.conv.weight.grad.any()


def test_event_frames_are_time_major_inside():
    model = build(num_steps=4, in_channels=2).eval()
    frames = torch.randn(2, 4, 2, 32, 32)
    assert model(frames)[-1].shape[:2] == (4, 2)
    with pytest.raises(ValueError, match='num_steps is 4'):
        model(frames[:, :3])


def test_repeated_forwards_agree_and_samples_are_independent():
    model = build(num_steps=3, attention=BSA).eval()
    x = image(batch=4)
    with torch.no_grad():
        first, second = model(x)[-1], model(x)[-1]
        order = torch.tensor([2, 0, 3, 1])
        permuted = model(x[order])[-1]
    assert torch.equal(first, second)
    torch.testing.assert_close(permuted, first[:, order])


def test_bsa_swaps_the_attention_and_nothing_else():
    native, bsa = build(), build(attention=BSA)
    assert [k for k, _ in native.named_parameters()] == [k for k, _ in bsa.named_parameters()]
    kinds = [m for m in bsa.modules() if isinstance(m, BipolarSelfAttention)]
    assert len(kinds) == 2
    for kind in kinds:
        assert type(kind.q_neuron).__name__ == type(kind.k_neuron).__name__ == 'TernaryLIFNode'
        assert (kind.q_neuron.v_threshold, kind.out_neuron.v_threshold) == (1.0, 0.125)
        assert isinstance(kind.v_neuron, nn.Identity)
        assert kind.value_dims == 4 * kind.embed_dims
    inside = {id(m) for kind in kinds for m in kind.modules()}
    others = [m for m in bsa.modules() if 'Node' in type(m).__name__ and id(m) not in inside]
    assert others and all(type(m) is IntegerNode for m in others)


@pytest.mark.parametrize(
    'options, name, threshold',
    [
        (dict(out_threshold=0.5), 'TernaryLIFNode', 0.5),
        (dict(out_neuron='family'), 'IntegerNode', None),
        (dict(out_neuron=dict(type='mmbsa.LIFNode', v_threshold=0.3)), 'LIFNode', 0.3),
        (dict(ternary=dict(type='mmbsa.SignedIntegerNode', levels=1)), 'SignedIntegerNode', None),
    ],
)
def test_the_output_neuron_is_an_option(options, name, threshold):
    node = build(attention=dict(**BSA, **options)).stages[4][1][1].branch.attn.out_neuron
    assert type(node).__name__ == name and getattr(node, 'v_threshold', None) == threshold


def test_bipolar_attention_speaks_at_the_beginning_of_a_training():
    """With norms as initialised and 196 tokens, the output neuron fires; at the family's threshold
    it hardly would."""
    rates = {}
    for threshold in (None, 1.0):
        model = build('t', attention=dict(**BSA, out_threshold=threshold))
        out = []
        model.stages[3][1][1].branch.attn.out_neuron.register_forward_hook(
            lambda m, i, o, out=out: out.append(o)
        )
        model(image((224, 224)))
        rates[threshold] = float(out[0].abs().mean())
    assert rates[None] > 0.05 > rates[1.0] * 10


@pytest.mark.parametrize('product', ['binary', 'ternary', 'real'])
@pytest.mark.parametrize('normalizer', ['none', 'softmax', 'shiftmax'])
def test_the_ablation_grid_is_arguments(product, normalizer):
    model = build(attention=dict(**BSA, product=product, normalizer=normalizer))
    out = model(image())[-1]
    out.square().mean().backward()
    assert (
        torch.isfinite(out).all()
        and model.stages[3][1][1].branch.q.conv.weight.grad.isfinite().all()
    )


@pytest.mark.parametrize('num_steps', [1, 3])
def test_the_neuron_of_the_config_is_the_neuron_everywhere(num_steps):
    neuron = dict(
        type='mmbsa.LIFNode',
        tau=3.0,
        v_threshold=0.7,
        surrogate_function=dict(type='ATan', alpha=5.0),
    )
    nodes = [
        m
        for m in build(neuron=neuron, num_steps=num_steps, attention=BSA).modules()
        if 'Node' in type(m).__name__
    ]
    assert {type(m).__name__ for m in nodes} == {'LIFNode', 'TernaryLIFNode'}
    assert all((m.tau, m.surrogate_function.alpha) == (3.0, 5.0) for m in nodes)
    assert {m.v_threshold for m in nodes} == {0.7, 0.7 / 8}


@pytest.mark.parametrize('frozen', [-1, 0, 1, 3, 5])
def test_frozen_stages_stay_frozen_in_train(frozen):
    model = build(frozen_stages=frozen).train()
    parts = [model.stem, *model.stages]
    for index, part in enumerate(parts):
        cold = index <= frozen
        assert all(p.requires_grad != cold for p in part.parameters())
        assert part.training != cold
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(image())
    after = model.state_dict()
    changed = {
        k.split('.')[0] + '.' + k.split('.')[1]
        for k in after
        if not torch.equal(before[k], after[k])
    }
    assert all(f'stages.{i}' not in changed for i in range(frozen))


def test_checkpointing_changes_nothing_but_memory():
    plain, saving = (
        build(attention=BSA, num_steps=2),
        build(attention=BSA, num_steps=2, with_cp=True),
    )
    outs = [model(image()) for model in (plain, saving)]
    for out in outs:
        sum(o.square().sum() for o in out).backward()
    assert all(torch.equal(a, b) for a, b in zip(*outs))
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), saving.buffers()):
        assert torch.equal(a, b), name


def test_layer_scale_and_drop_path():
    model = build(layer_scale=1e-6, drop_path_rate=0.9)
    scales = {k: v for k, v in model.named_parameters() if k.endswith('.scale')}
    assert len(scales) == 6 and all((v == 1e-6).all() for v in scales.values())
    last = model.stages[4][1][0]
    x = torch.randn(2, 64, 24, 2, 2)
    last.scale.data.fill_(1.0)
    kept = (last.train()(x) != x).flatten(2).any(2)
    assert torch.equal(kept[0], kept[1]), 'a sample is dropped with all its steps'
    assert 0 < kept[0].sum() < 32
    assert (last.eval()(x) != x).any(2).all()


def test_norm_cfg_reaches_every_norm():
    model = build(norm_cfg=dict(type='SyncBN', eps=1e-3))
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(m, nn.SyncBatchNorm) and m.eps == 1e-3 for m in norms)


def test_layer_depths_grow_with_depth():
    model = build()
    depths = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
        for name, _ in model.named_parameters()
    }
    total = next(iter(depths.values()))[1]
    order = [depths[name][0] for name in depths]
    assert order == sorted(order) and order[0] == 0 and order[-1] == total - 2
    assert model.get_layer_depth('decode_head.conv.weight', 'backbone.') == (total - 1, total)


def test_pretrained_reports_every_missing_and_unexpected_key(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmbsa.models.backbones.base.print_log', lambda message, **kwargs: messages.append(message)
    )
    source = build()
    state = {f'backbone.{k}': v for k, v in source.state_dict().items() if k != 'stem.conv.bias'}
    state['backbone.extra.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=state), tmp_path / 'model.pth')
    for prefix in (dict(prefix='backbone.'), {}):
        model = MODELS.build(
            dict(
                type='mmbsa.ESpikeFormer',
                arch=TINY,
                layer_scale=1e-6,
                init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth'), **prefix),
            )
        )
        messages.clear()
        model.init_weights()
        text = '\n'.join(messages)
        assert 'stem.conv.bias' in text and 'extra.weight' in text and 'stages.3.1.0.scale' in text
        assert torch.equal(
            model.stages[4][1][1].branch.proj.conv.weight,
            source.stages[4][1][1].branch.proj.conv.weight,
        )


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save(dict(model={'layer1.weight': torch.zeros(1)}), tmp_path / 'resnet.pth')
    model = build(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth')))
    with pytest.raises(ValueError, match='resnet.pth'):
        model.init_weights()


@pytest.mark.parametrize(
    'kwargs, error, words',
    [
        (dict(arch='xxl'), KeyError, "arch='xxl'"),
        (dict(arch=dict(embed_dims=(8, 16, 16))), ValueError, 'embed_dims'),
        (dict(arch=dict(embed_dims=(8, 16, 18, 24), num_heads=4)), ValueError, 'num_heads=4'),
        (dict(num_steps=0), ValueError, 'num_steps'),
        (dict(num_steps=1.5), ValueError, 'num_steps'),
        (dict(out_indices=(5,)), ValueError, 'out_indices'),
        (dict(frozen_stages=6), ValueError, 'frozen_stages'),
        (dict(attention=dict(type='mmbsa.NoAttention')), KeyError, 'mmbsa.BipolarSelfAttention'),
        (dict(attention='bsa'), TypeError, 'dict'),
        (dict(attention=dict(**BSA, product='quaternary')), ValueError, 'product'),
    ],
)
def test_bad_configs_name_the_key(kwargs, error, words):
    with pytest.raises(error, match=words):
        build(**kwargs)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='B, C, H, W'):
        build()(torch.zeros(3, 32, 32))


def test_stages_after_the_last_map_do_not_run():
    model, calls = build(), []
    for index, stage in enumerate(model.stages):
        for block in stage:
            block.register_forward_hook(lambda *_, index=index: calls.append(index))
    with torch.no_grad():
        maps = model.forward(image(), out_indices=(0, 2))
    assert len(maps) == 2 and set(calls) == {0, 1, 2}
