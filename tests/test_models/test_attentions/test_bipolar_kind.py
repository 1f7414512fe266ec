"""The corner of the ablation's grid that is no Bipolar Self-attention: the family's own."""

import pytest
import torch

from mmbsa.registry import MODELS

FAMILY = dict(
    type='mmbsa.LIFNode',
    tau=2.0,
    detach_reset=True,
    surrogate_function=dict(type='Sigmoid', alpha=4.0),
)
SIZES = dict(embed_dims=16, num_heads=2, neuron=FAMILY)
CORNER = dict(
    normalizer='none', v_neuron='family', scale=0.125, out_neuron='family', out_threshold=0.5
)


def build(**cfg):
    return MODELS.build(dict(type='mmbsa.BipolarSelfAttention', **SIZES, **cfg))


def test_binary_product_without_normalizer_is_spiking_self_attention():
    torch.manual_seed(0)
    q, k, v = ((2 * torch.randn(3, 2, 16, 4, 4) + 2).requires_grad_() for _ in range(3))
    outs = []
    for kind in (
        build(product='binary', **CORNER),
        MODELS.build(dict(type='mmbsa.SpikingSelfAttention', **SIZES)),
    ):
        out = kind(q, k, v)
        outs.append((out, *torch.autograd.grad(out.sum(), (q, k, v))))
    assert 0.05 < outs[0][0].mean() < 0.95 and set(outs[0][0].unique().tolist()) == {0, 1}
    for ours, native in zip(*outs):
        torch.testing.assert_close(ours, native)


def test_value_and_output_neurons():
    assert isinstance(build().v_neuron, torch.nn.Identity), 'V stays a potential, as in the paper'
    assert (
        build(v_neuron='family').v_neuron.v_threshold == 1
        and build(v_neuron=dict(FAMILY, tau=3.0)).v_neuron.tau == 3
    )
    assert build(out_neuron='family').out_neuron.v_threshold == 1
    old = build(v_neuron='host', out_neuron='host', out_threshold=0.5)  # names of mmbsa 0.1
    assert (old.v_neuron.v_threshold, old.out_neuron.v_threshold) == (1, 0.5)
    assert build(out_neuron='family', out_threshold=0.5).out_neuron.v_threshold == 0.5
    assert (
        build(out_threshold=0.25).out_neuron.v_threshold == 0.25
        and build().out_neuron.v_threshold == 1 / 8
    )
    for name in ('v_neuron', 'out_neuron'):
        with pytest.raises(ValueError, match=name):
            build(**{name: 'ternry'})


COUNTS = dict(type='mmbsa.IntegerNode', levels=4)


@pytest.mark.parametrize(
    'cfg, told',
    [
        (dict(product='ternary'), 'ternary'),
        (dict(product='binary'), 'binary'),
        (dict(product='real'), 'real'),
        (dict(product='binary', neuron=COUNTS), 'real'),
        (dict(product='binary', neuron=dict(COUNTS, levels=1)), 'binary'),
        (dict(ternary=dict(type='mmbsa.SignedIntegerNode', levels=4)), 'real'),
    ],
)
def test_kernels_are_told_of_counts(cfg, told):
    """A kernel writes 2^score as bits: it must know where scores are no integers."""
    kind = MODELS.build({**SIZES, 'type': 'mmbsa.BipolarSelfAttention', **cfg})
    assert kind.product == told
