"""Mixtures of spiking experts: who fires, who is gated by what, in which family."""

import family_checks as checks
import pytest
import torch

from mmbsa.models.attentions import BipolarSelfAttention, ExpertsAttention, SpikingSelfAttention
from mmbsa.models.layers import ExpertsMLP
from mmbsa.registry import MODELS
from mmbsa.spiking import SpikeDomain

LIF = dict(type='mmbsa.LIFNode', tau=2.0)
TINY = dict(embed_dims=32, depth=1, num_heads=2)
MIXTURE = dict(type='mmbsa.ExpertsAttention', num_experts=3, expert_dims=8)


def kind(**kwargs):
    return ExpertsAttention(
        16, 2, LIF, **{**dict(num_experts=3, expert_dims=8, family_scale=0.125), **kwargs}
    )


def potentials(experts=3):
    generator = torch.Generator().manual_seed(0)
    draw = [(8,)] * experts + [(8,), (16,), (experts,)]
    *q, k, v, gate = (4 * torch.rand(4, 2, *dims, 4, 4, generator=generator) for dims in draw)
    return tuple(q), k, v, gate


def test_experts_are_gated_and_summed():
    """The sum over experts of router spike times attention, each with neurons of its own."""
    model, (q, k, v, gate) = kind(), potentials()
    native = SpikingSelfAttention(8, 1, LIF, value_dims=16, scale=0.125, out_threshold=None)
    expected = sum(
        native(q[e], k, v) * model.router_neuron(gate)[:, :, e : e + 1] for e in range(3)
    )
    out = model(q, k, v, gate)
    assert torch.equal(out, expected) and out.max() > 1
    assert model.domain == SpikeDomain(0, 3) and model.domain.contains(out)


def test_scrambled_router_reads_the_map_in_the_order_of_memory():
    straight, scrambled, (q, k, v, gate) = kind(), kind(scrambled=True), potentials()
    moved = gate.flatten(2).view(4, 2, 16, 3).transpose(2, 3).unflatten(3, (4, 4))
    assert torch.equal(scrambled(q, k, v, gate), straight(q, k, v, moved))
    assert not torch.equal(scrambled(q, k, v, gate), straight(q, k, v, gate))


def test_k_and_v_have_one_neuron():
    model = kind()
    assert (
        len({id(e.k_neuron) for e in model.experts})
        == len({id(e.v_neuron) for e in model.experts})
        == 1
    )
    assert (
        len({id(e.q_neuron) for e in model.experts})
        == len({id(e.out_neuron) for e in model.experts})
        == 3
    )
    learnable = ExpertsAttention(
        16, 2, dict(type='mmbsa.ParametricLIFNode'), num_experts=2, expert_dims=8
    )
    assert len(list(learnable.parameters())) == 2 + 2 * 2 + 1


def test_experts_of_bsa():
    model = kind(expert=dict(type='mmbsa.BipolarSelfAttention'))
    assert all(
        isinstance(e, BipolarSelfAttention) for e in model.experts
    ) and model.domain == SpikeDomain(-3, 3)
    assert model.domain.contains(model(*potentials()))


def test_what_no_expert_can_be_is_named():
    with pytest.raises(ValueError, match='attention.expert.type must be .* got QKTokenAttention'):
        kind(expert=dict(type='mmbsa.QKTokenAttention'))
    with pytest.raises(ValueError, match='num_experts=0'):
        kind(num_experts=0)
    with pytest.raises(ValueError, match='must be even'):
        ExpertsMLP(5, ratio=1)


@pytest.mark.parametrize(
    'family', ['Spikformer', 'Spikingformer', 'SpikeDrivenTransformer', 'SWFormer']
)
def test_every_isotropic_family_takes_the_mixture(family):
    model = checks.build(
        family, TINY, num_steps=2, attention=MIXTURE, mlp=dict(type='mmbsa.ExpertsMLP')
    )
    names = [type(m).__name__ for m in model.modules()]
    assert (
        names.count('ExpertsAttention') == names.count('ExpertsMLP') == 1
        and 'SpikeMLP' not in names
    )
    out = model(checks.image((64, 64)))[-1]
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_mlp_gates_half_of_its_spikes():
    torch.manual_seed(0)
    mlp = ExpertsMLP(8, 2, neuron=LIF, norm_cfg=dict(type='BN'), neuron_last=True).eval()
    torch.nn.init.constant_(mlp.fc1.norm.bias, 2.0)
    torch.nn.init.constant_(mlp.depthwise.norm.bias, 1.0)
    x = 4 * torch.rand(3, 2, 8, 5, 7)
    hidden = mlp.fc1(x)
    expected = mlp.fc2(mlp.depthwise(hidden[:, :, :8].contiguous()) * hidden[:, :, 8:])
    assert torch.equal(mlp(x), expected) and hidden.any()


def test_spikformer_mixtures():
    arch = dict(TINY, experts=3, expert_dims=8)
    for quirks in (False, True):
        model = checks.build('Spikformer', arch, num_steps=2, official_quirks=quirks)
        (mixture,) = (m for m in model.modules() if isinstance(m, ExpertsAttention))
        assert (mixture.num_experts, mixture.expert_dims, mixture.scrambled) == (3, 8, quirks)
        assert (
            mixture.experts[0].options['scale'] == 0.125
            and mixture.experts[0].out_neuron.v_threshold == 1.0
        )
    model = checks.build(
        'Spikformer', arch, num_steps=2, attention=dict(type='mmbsa.BipolarSelfAttention')
    )
    assert any(isinstance(m, ExpertsMLP) for m in model.modules())
    with pytest.raises(KeyError, match='backbone.mlp'):
        MODELS.build(dict(type='mmbsa.Spikformer', arch=TINY, mlp=dict(type='mmbsa.ExpertMLP')))
