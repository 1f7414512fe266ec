"""The temporal interaction module: its recursion, its sizes, the kinds that it goes with."""

import family_checks as checks
import pytest
import torch
import torch.nn.functional as F

from mmbsa.models.attentions import TemporalAttention
from mmbsa.models.attentions.temporal import TemporalInteraction
from mmbsa.models.neurons import build_neuron
from mmbsa.spiking import BINARY, TERNARY, stream

LIF = dict(type='mmbsa.LIFNode', tau=2.0)
TINY = dict(embed_dims=32, depth=1, num_heads=2, temporal=(2, 2), neuron='mmbsa.SLTTLIFNode')


def module(tokens=(4, 4), **kwargs):
    torch.manual_seed(0)
    built = TemporalInteraction(2, tokens, LIF, BINARY, **kwargs)
    torch.nn.init.normal_(built.interactor.weight, std=0.5)
    return built


def spikes(steps=4):
    return torch.randint(
        0, 2, (steps, 3, 12, 4, 4), generator=torch.Generator().manual_seed(0)
    ).float()


def test_temporal_module_follows_the_recursion():
    """y_t = SN(a SN(W * y_{t-1}) + (1 - a) q_t), with membranes that run over the steps."""
    model, q = module(alpha=0.75), spikes()
    first, second = (
        build_neuron(dict(LIF, v_threshold=0.3)),
        build_neuron(dict(LIF, v_threshold=0.5)),
    )
    y, states, expected = q[0], [None, None], [q[0]]
    for t in range(1, 4):
        heads = y.reshape(3, 2, 6, 16).transpose(2, 3).flatten(0, 1)  # tokens are channels
        z = model.interactor(heads).unflatten(0, (3, 2)).transpose(2, 3).reshape(3, 12, 4, 4)
        inner, states[0] = first.run(z[None], states[0])
        y, states[1] = second.run(0.75 * inner + 0.25 * q[t : t + 1], states[1])
        y = y[0]
        expected.append(y)
    out = model(q)
    assert torch.equal(out, torch.stack(expected)) and out[1:].any() and not torch.equal(out, q)
    assert model.domain == BINARY and module().domain.contains(out)


def test_thresholds_as_run_silence_all_later_steps():
    out = module(in_threshold=1.0, out_threshold=1.0)(spikes())
    assert torch.equal(out[0], spikes()[0]) and not out[1:].any()


def test_streams_bit_for_bit():
    model, q = module(), spikes()
    whole, state = model(q), None
    for t in range(4):
        out, state = stream(model, q[t : t + 1], state)
        assert torch.equal(out, whole[t : t + 1])


def test_kernel_of_another_map_is_interpolated_with_equal_sums():
    model = module((2, 3))
    weight, bias = model.kernel((4, 6))
    assert weight.shape == (24, 24, 5) and bias.shape == (24,)
    assert model.kernel((2, 3))[0] is model.interactor.weight
    constant = torch.full_like(model.interactor.weight, 0.5)
    model.interactor.weight.data = constant
    torch.testing.assert_close(model.kernel((4, 6))[0].sum((1, 2)), torch.full((24,), 0.5 * 6 * 5))
    # separable weights stay separable, outputs along the first axis
    rows = torch.arange(6.0).view(6, 1, 1)
    model.interactor.weight.data = rows.expand(6, 6, 5).clone()
    grown = F.interpolate(rows.view(1, 1, 2, 3), (4, 6), mode='bilinear').flatten() / 4
    torch.testing.assert_close(model.kernel((4, 6))[0][:, 0, 0], grown)


@pytest.mark.parametrize(
    'inner, domain',
    [
        (None, BINARY),
        (dict(type='mmbsa.BipolarSelfAttention'), TERNARY),
        (dict(type='mmbsa.QKTokenAttention'), BINARY),
        (dict(type='mmbsa.SpikeDrivenSelfAttention'), BINARY),
    ],
)
def test_any_kind_with_spikes_of_q(inner, domain):
    kind = TemporalAttention(12, 2, LIF, attention=inner)
    temporal = kind.attn.q_neuron[1]
    assert temporal.domain == domain
    out = kind(
        *(3 * torch.randn(3, 2, 12, 4, 4) for _ in range(2)),
        3 * torch.randn(3, 2, 12, 4, 4) if kind.uses_value else None,
    )
    assert out.shape == (3, 2, 12, 4, 4) and kind.domain.contains(out)


@pytest.mark.parametrize(
    'cfg, words',
    [
        (
            dict(attention=dict(type='mmbsa.SoftmaxAttention')),
            "neuron of q, got attention.type='SoftmaxAttention'",
        ),
        (
            dict(attention=dict(type='mmbsa.DualSpikeSelfAttention')),
            "neuron of q, got attention.type='DualSpikeSelfAttention'",
        ),
        (dict(neuron=dict(type='mmbsa.PSN', T=2)), 'PSN cannot'),
        (dict(alpha=2.0), r'alpha must be in .*, got 2.0'),
    ],
)
def test_what_does_not_go_together_is_named(cfg, words):
    with pytest.raises(ValueError, match=words):
        TemporalAttention(12, 2, **{'neuron': LIF, **cfg})


def test_spikformer_with_the_module():
    for quirks, thresholds in ((False, [0.3, 0.5, 0.5]), (True, [1.0, 1.0, 1.0])):
        model = checks.build('Spikformer', TINY, num_steps=3, official_quirks=quirks)
        (kind,) = (m for m in model.modules() if isinstance(m, TemporalAttention))
        temporal = kind.attn.q_neuron[1]
        nodes = temporal.in_neuron, temporal.out_neuron, kind.attn.out_neuron
        assert [node.v_threshold for node in nodes] == thresholds
        assert {type(node).__name__ for node in nodes} == {'SLTTLIFNode'}
    dense = dict(TINY, pooling='0011', temporal=(8, 8), tau=1.5)  # alive at every layer
    checks.check_shapes_and_gradients(checks.build('Spikformer', dense, num_steps=3), (32, 32))
