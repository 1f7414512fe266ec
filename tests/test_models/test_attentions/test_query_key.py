"""Q-K attentions and SSA against loops that follow their equations, neuron by neuron."""

import pytest
import torch

from mmbsa.models.neurons import build_neuron
from mmbsa.registry import MODELS

LIF = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)
T, B, C, HEADS, H, W = 3, 2, 12, 3, 2, 5


def build(kind, **kwargs):
    return MODELS.build(
        dict(type=f'mmbsa.{kind}', embed_dims=C, num_heads=HEADS, neuron=LIF, **kwargs)
    )


def potentials(seed):
    return 3 * torch.randn(T, B, C, H, W, generator=torch.Generator().manual_seed(seed))


def mask(counts, threshold):
    return build_neuron(dict(LIF, v_threshold=threshold), T)(counts)


@pytest.mark.parametrize('threshold', [0.5, 1.2])
def test_token_attention_keeps_tokens(threshold):
    q, k = potentials(0), potentials(1)
    out = build('QKTokenAttention', out_threshold=threshold)(q, k)
    fire = build_neuron(LIF, T)
    expected = torch.zeros_like(out)
    for head in range(HEADS):
        channels = slice(4 * head, 4 * head + 4)
        kept = mask(fire(q)[:, :, channels].sum(2), threshold)  # (T, B, H, W)
        expected[:, :, channels] = kept[:, :, None] * fire(k)[:, :, channels]
    assert torch.equal(out, expected) and 0 < out.mean() < fire(k).mean()


def test_channel_attention_keeps_channels_whatever_the_heads():
    q, k = potentials(0) - 2.5, potentials(1)
    out = build('QKChannelAttention')(q, k)
    fire = build_neuron(LIF, T)
    expected = mask(fire(q).sum((3, 4), keepdim=True), 0.5) * fire(k)
    assert torch.equal(out, expected) and 0 < out.mean() < fire(k).mean()


@pytest.mark.parametrize('scale, used', [(None, 0.25), (0.5, 0.5)])
def test_spiking_self_attention_counts_coincidences(scale, used):
    q, k, v = (potentials(seed) for seed in range(3))
    kind = build('SpikingSelfAttention', scale=scale, family_scale=0.25)
    out = kind(q, k, v)
    fire = build_neuron(LIF, T)
    q, k, v = (fire(x).flatten(3) for x in (q, k, v))  # (T, B, C, N)
    counts = torch.zeros(T, B, C, H * W)
    for c in range(C):
        head = slice(c // 4 * 4, c // 4 * 4 + 4)
        for n in range(H * W):
            together = (q[:, :, head, n, None] * k[:, :, head]).sum(
                2
            )  # spikes shared by token n and every token
            counts[:, :, c, n] = (together * v[:, :, c]).sum(-1)
    assert torch.equal(out.flatten(3), mask(counts * used, 0.5)) and out.any()


@pytest.mark.parametrize('kind', ['QKTokenAttention', 'QKChannelAttention', 'SpikingSelfAttention'])
def test_indivisible_heads_are_named(kind):
    with pytest.raises(ValueError, match='num_heads=5'):
        MODELS.build(dict(type=f'mmbsa.{kind}', embed_dims=C, num_heads=5, neuron=LIF))
