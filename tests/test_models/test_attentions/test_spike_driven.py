"""SDSA, DSSA and softmax attention against loops that follow their equations."""

import pytest
import torch
import torch.nn.functional as F

from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS

LIF = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)
T, B, C, HEADS, H, W = 3, 2, 12, 3, 4, 5
D = C // HEADS


def build(kind, **kwargs):
    kwargs = {**dict(embed_dims=C, num_heads=HEADS, neuron=LIF), **kwargs}
    return MODELS.build(dict(type=f'mmbsa.{kind}', **kwargs))


def potentials(seed, channels=C, size=(H, W)):
    return 3 * torch.randn(T, B, channels, *size, generator=torch.Generator().manual_seed(seed))


def fire(x, threshold=1.0):
    return build_neuron(dict(LIF, v_threshold=threshold), T)(x)


def widened(x):
    """Maximum over the 3 x 3 neighbours in the last two dimensions, looked at one by one."""
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    height, width = x.shape[-2:]
    return torch.stack(
        [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    ).amax(0)


@pytest.mark.parametrize('dilate', [None, 'map', 'official'])
def test_sdsa_keeps_channels_of_q(dilate):
    q, k, v = (fire(potentials(seed) - shift) for seed, shift in ((0, 0), (1, 2.5), (2, 2.5)))
    out = build('SpikeDrivenSelfAttention', dilate=dilate)(
        potentials(0), potentials(1) - 2.5, potentials(2) - 2.5
    )
    if dilate:
        k, v = widened(k), widened(v)
    expected = torch.zeros(T, B, C, H * W)
    for head in range(HEADS):
        channels = slice(head * D, head * D + D)
        tokens = {
            name: x[:, :, channels].flatten(3).transpose(2, 3)
            for name, x in (('q', q), ('k', k), ('v', v))
        }
        kv = tokens['k'] * tokens['v']  # (T, B, N, d)
        if dilate == 'map':
            kv = widened(kv.transpose(2, 3).unflatten(3, (H, W))).flatten(3).transpose(2, 3)
        elif dilate:
            kv = widened(kv)
        kept = tokens['q'] * fire(kv.sum(2, keepdim=True), 0.5)
        expected[:, :, channels] = (widened(kept) if dilate == 'official' else kept).transpose(2, 3)
    expected = expected.unflatten(3, (H, W))
    assert torch.equal(out, widened(expected) if dilate == 'map' else expected)
    assert 0 < out.mean() < 1 and (dilate or out.mean() < q.mean())


def test_sdsa_refuses_what_it_cannot_multiply():
    with pytest.raises(ValueError, match='value_dims=24'):
        build('SpikeDrivenSelfAttention', value_dims=24)
    with pytest.raises(ValueError, match="'wide'"):
        build('SpikeDrivenSelfAttention', dilate='wide')
    with pytest.raises(ValueError, match='num_heads=5'):
        build('SpikeDrivenSelfAttention', num_heads=5)


@pytest.mark.parametrize('length', [None, 7])
def test_dssa_multiplies_spikes_and_potentials_twice(length):
    """Queries are spikes of all pixels; the first half of a head's channels are keys, the second
    values, of patches."""
    kind = build('DualSpikeSelfAttention', length=length).eval()
    rates = dict(query=torch.tensor([0.1, 0.2, 0.4]), score=torch.tensor([0.3, 0.6, 0.05]))
    kind.query_rate.rate.copy_(rates['query'])
    kind.score_rate.rate.copy_(rates['score'])
    x, y = fire(potentials(0)), potentials(1, 2 * C, (2, 3))
    out = kind(x, y)
    expected = torch.zeros(T, B, C, H * W)
    for head in range(HEADS):
        queries = x[:, :, head * D : head * D + D].flatten(3)  # (T, B, d, N)
        keys, values = (
            y[:, :, 2 * D * head : 2 * D * head + 2 * D].flatten(3).split(D, dim=2)
        )  # (T, B, d, 6)
        scores = torch.einsum('tbdm,tbdn->tbmn', keys, queries) / (rates['query'][head] * D).sqrt()
        spikes = fire(scores)
        expected[:, :, head * D : head * D + D] = (
            torch.einsum('tbdm,tbmn->tbdn', values, spikes)
            / (rates['score'][head] * (length or 6)).sqrt()
        )
    assert torch.equal(out.flatten(3), fire(expected)) and 0 < out.mean() < 1


def test_dssa_measures_its_rates_in_training():
    kind = build('DualSpikeSelfAttention').train()
    x = fire(potentials(0))
    kind(x, potentials(1, 2 * C, (2, 3)))
    torch.testing.assert_close(
        kind.query_rate.rate, x.unflatten(2, (HEADS, D)).mean((0, 1, 3, 4, 5))
    )
    assert (kind.score_rate.rate > 0).all() and set(kind.state_dict()) == {
        'query_rate.rate',
        'score_rate.rate',
    }
    with pytest.raises(ValueError, match='value_dims=24'):
        build('DualSpikeSelfAttention', value_dims=24)


@pytest.mark.parametrize('scale', [None, 0.1])
def test_softmax_attention_has_no_spikes(scale):
    q, k, v = potentials(0), potentials(1, size=(2, 3)), potentials(2, 2 * C, (2, 3))
    kind = build('SoftmaxAttention', value_dims=2 * C, scale=scale, family_scale=9.0)
    assert not [m for m in kind.modules() if 'Node' in type(m).__name__]
    out = kind(q, k, v)
    for head in range(HEADS):
        one_q, one_k = (x[:, :, head * D : head * D + D].flatten(3) for x in (q, k))
        weights = (torch.einsum('tbdn,tbdm->tbnm', one_q, one_k) * (scale or D**-0.5)).softmax(-1)
        one_v = v[:, :, 2 * D * head : 2 * D * head + 2 * D].flatten(3)
        expected = torch.einsum('tbnm,tbdm->tbdn', weights, one_v)
        torch.testing.assert_close(
            out[:, :, 2 * D * head : 2 * D * head + 2 * D].flatten(3), expected
        )
