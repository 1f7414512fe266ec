"""Projections around a kind: which exist, STEP's ablations, and their errors."""

from functools import partial

import pytest
import torch

from mmbsa.models.attentions import ProjectedAttention
from mmbsa.models.layers import RepConv, SpikeConv
from mmbsa.registry import MODELS

LIF = dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.25, detach_reset=True)
SSA = dict(type='mmbsa.SpikingSelfAttention')
C, T = 8, 2


def build(attention, **kwargs):
    torch.manual_seed(0)
    return ProjectedAttention(
        C,
        2,
        attention,
        LIF,
        project=partial(SpikeConv, norm_cfg=dict(type='BN', eps=1e-3)),
        **kwargs,
    )


def frozen_names(block):
    return {name.split('.')[0] for name, p in block.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize(
    'kind',
    [
        'SpikingSelfAttention',
        'BipolarSelfAttention',
        'SpikeDrivenSelfAttention',
        'SoftmaxAttention',
        'QKTokenAttention',
    ],
)
def test_frozen_random_projections(kind):
    """The convolutions of q and k keep their weights, their norms train, whatever the kind."""
    cfg = dict(type=f'mmbsa.{kind}', frozen=('q', 'k'))
    block = build(cfg)
    assert cfg['frozen'] == ('q', 'k'), 'the config is copied'
    assert {n for n, p in block.named_parameters() if not p.requires_grad} == {
        'q.conv.weight',
        'k.conv.weight',
    }
    optimizer = torch.optim.SGD([p for p in block.parameters() if p.requires_grad], 1.0)
    before = {k: v.clone() for k, v in block.state_dict().items()}
    (block(3 * torch.randn(T, 3, C, 4, 4)) * torch.randn(T, 3, C, 4, 4)).sum().backward()
    optimizer.step()
    after = block.train().state_dict()
    assert all(
        torch.equal(before[f'{name}.conv.weight'], after[f'{name}.conv.weight']) for name in 'qk'
    )
    assert not torch.equal(before['proj.conv.weight'], after['proj.conv.weight'])
    assert not torch.equal(before['q.norm.weight'], after['q.norm.weight'])


@pytest.mark.parametrize('frozen', ['q', ('v', 'proj'), ['q', 'k', 'v', 'proj']])
def test_any_projection_can_be_frozen(frozen):
    assert frozen_names(build(dict(SSA, frozen=frozen))) == set(
        [frozen] if isinstance(frozen, str) else frozen
    )


def test_rep_conv_projections_take_the_norm_of_the_family():
    block = build(dict(SSA, projection='rep_conv', frozen='k'), value_dims=16)
    for name in ('q', 'k', 'v', 'proj'):
        part = getattr(block, name)
        assert (
            isinstance(part, RepConv)
            and part.depthwise is not None
            and part.expand_norm.eps == 1e-3
        )
    assert block.v.reduce.out_channels == block.proj.expand.in_channels == 16
    assert {n for n, p in block.named_parameters() if not p.requires_grad} == {
        'k.expand.weight',
        'k.depthwise.weight',
        'k.reduce.weight',
    }
    assert block(torch.randn(T, 3, C, 5, 4)).shape == (T, 3, C, 5, 4)


@pytest.mark.parametrize(
    'family, arch',
    [
        ('Spikformer', dict(embed_dims=16, depth=1, num_heads=2)),
        ('SpikeDrivenTransformer', dict(embed_dims=16, depth=1, num_heads=2)),
        ('ESpikeFormer', dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)),
    ],
)
@pytest.mark.parametrize('ablation', [dict(frozen=('q', 'k')), dict(projection='rep_conv')])
def test_step_ablations_in_families(family, arch, ablation):
    model = MODELS.build(
        dict(
            type=f'mmbsa.{family}',
            arch=arch,
            num_steps=T,
            attention=dict(SSA, **ablation),
            norm_cfg=dict(type='BN', momentum=0.3),
        )
    )
    blocks = [m for m in model.modules() if isinstance(m, ProjectedAttention)]
    assert blocks and all((frozen_names(b) == {'q', 'k'}) == ('frozen' in ablation) for b in blocks)
    if 'projection' in ablation:
        assert all(isinstance(b.q, RepConv) and b.q.reduce_norm.momentum == 0.3 for b in blocks)
    model(torch.randn(2, 3, 32, 32))[-1].sum().backward()


def test_dual_spikes_take_the_familys_spikes_as_queries():
    block = build(dict(type='mmbsa.DualSpikeSelfAttention'))
    assert block.q is None and block.v is None and block.k.conv.out_channels == 2 * C
    assert block(torch.randn(T, 3, C, 4, 4)).shape == (T, 3, C, 4, 4)


@pytest.mark.parametrize(
    'attention, options, words',
    [
        (dict(SSA, frozen=('q', 'w')), {}, 'q, k, v, proj'),
        (dict(SSA, projection='dense'), {}, 'rep_conv'),
        (dict(type='mmbsa.QKTokenAttention', frozen='v'), {}, 'no projection of v'),
        (dict(type='mmbsa.DualSpikeSelfAttention', frozen='q'), {}, 'no projection of q'),
        (
            dict(SSA, projection='rep_conv'),
            dict(project_kv=partial(SpikeConv, stride=2)),
            'strided',
        ),
    ],
)
def test_impossible_ablations_are_named(attention, options, words):
    with pytest.raises(ValueError, match=words):
        build(attention, **options)


def test_checkpoints_of_the_first_version_load_with_their_old_key():
    neuron = dict(type='mmbsa.ParametricLIFNode', init_tau=2.0)
    project = partial(SpikeConv, norm_cfg=dict(type='BN'))
    block, other = (ProjectedAttention(C, 2, SSA, neuron, project=project) for _ in range(2))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(1)
    state = {
        key.replace('attn.', 'mixing.', 1) if key.startswith('attn.') else key: value
        for key, value in block.state_dict().items()
    }
    assert any(key.startswith('mixing.') for key in state)
    other.load_state_dict(state, strict=True)
    for a, b in zip(block.state_dict().values(), other.state_dict().values()):
        assert torch.equal(a, b)
