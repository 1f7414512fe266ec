"""Every neuron with every attention kind: the op assumes no more than the neurons' domains
allow."""

import inspect

import pytest
import torch
from torch import nn

from mmbsa.models.attentions import build_attention
from mmbsa.models.attentions.base import DotProductAttention, product_of
from mmbsa.models.neurons import NODE_NAMES, bind_steps, build_neuron
from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, TERNARY, AttentionKind, SpikeDomain, counts, domain_of, stream

T, C, SIDE = 3, 8, 3
NEEDS = dict(
    DSRIFNode=dict(v_threshold=1.0),
    LIAFNode=dict(act='relu', threshold_related=False),
    MaskedPSN=dict(k=2),
    MPBNLIFNode=dict(out_channels=C),
    STBIFNode=dict(q_threshold=0.5, level=4),
    SlidingPSN=dict(k=2),
    SimpleLIFNode=dict(tau=2.0, decay_input=True),
)
#: neurons whose input is no map of any size, or whose output is no tensor of spikes of that shape.
OTHERS = ('ILC', 'Noisy', 'NonSpiking', 'FewSpike', 'HG', 'OutlierAware')
NODES = [name for name in NODE_NAMES if not name.startswith(OTHERS)]
OWN = ['IntegerNode', 'SignedIntegerNode', 'HDLIFNode', 'HodgkinHuxleyNode']
KINDS = sorted(
    name
    for name, cls in MODELS.module_dict.items()
    if inspect.isclass(cls) and issubclass(cls, AttentionKind)
)
PRODUCTS = [dict(type=f'mmbsa.{kind}') for kind in KINDS] + [
    dict(type='mmbsa.BipolarSelfAttention', product='binary'),
    dict(type='mmbsa.BipolarSelfAttention', product='binary', normalizer='none', v_neuron='family'),
]


def config(name):
    return bind_steps(dict(type=f'mmbsa.{name}', **NEEDS.get(name, {})), T)


def potentials(channels=C):
    x = 3 * torch.randn(
        T, 2, SIDE, SIDE, channels, generator=torch.Generator().manual_seed(channels)
    )
    return x.permute(0, 1, 4, 2, 3)


def label(cfg):
    return '-'.join(str(v).removeprefix('mmbsa.') for v in cfg.values())


@pytest.mark.parametrize('name', NODES + OWN)
def test_domain_is_what_comes_out(name):
    node = build_neuron(config(name))
    out = node(potentials())
    assert node.domain is None or node.domain.contains(out)
    if node.domain is not None:
        strong = node(10 * potentials())
        assert strong.max().item() == node.domain.high * node.domain.unit
        assert strong.min().item() == node.domain.low * node.domain.unit


@pytest.mark.parametrize('cfg', PRODUCTS, ids=label)
@pytest.mark.parametrize('name', NODES + OWN)
@torch.no_grad()
def test_auto_equals_reference(name, cfg):
    """The counting neurons of SpikingJelly were called binary once, and kernels computed other
    numbers."""
    if name == 'MPBNLIFNode' and not issubclass(MODELS.get(cfg['type']), DotProductAttention):
        pytest.skip(
            'its batch norm is made for C channels, and masks and maps of scores have others'
        )
    torch.manual_seed(0)
    if 'Temporal' in cfg['type'] and MODELS.get(f'mmbsa.{name}').no_stream:
        with pytest.raises(ValueError, match='step by step'):
            build_attention(cfg, embed_dims=C, num_heads=2, neuron=config(name))
        return
    kind = build_attention(cfg, embed_dims=C, num_heads=2, value_dims=C, neuron=config(name)).eval()
    queries = tuple(potentials(dims) for dims in kind.query_dims)
    arguments = [
        queries[0] if len(queries) == 1 else queries,
        potentials(kind.key_dims),
        potentials() if kind.uses_value else None,
    ]
    if not kind.uses_query:
        arguments[0] = build_neuron(config(name))(arguments[0])
    if kind.gate_dims:
        arguments.append(potentials(kind.gate_dims))
    found = kind(*arguments)
    assert domain_of(kind) is None or domain_of(kind).contains(found)
    if isinstance(kind, DotProductAttention):
        kind.out_neuron = nn.Identity()  # a threshold would hide or exaggerate differences
        found, kind.options['impl'] = kind(*arguments), 'reference'
        torch.testing.assert_close(found, kind(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', NODES + OWN)
def test_node_streams_or_refuses(name):
    node, x = build_neuron(config(name)).eval(), potentials()
    if node.no_stream:
        with pytest.raises(ValueError, match='cannot run step by step'):
            stream(node, x[:1])
        return
    whole, state = node(x), None
    for t in range(T):
        spikes, state = stream(node, x[t : t + 1], state)
        assert torch.equal(spikes, whole[t : t + 1])
    assert torch.equal(node.run(x)[0], whole) and whole.any()


@pytest.mark.parametrize(
    'q, k, product',
    [
        (BINARY, BINARY, 'binary'),
        (BINARY, TERNARY, 'ternary'),
        (TERNARY, TERNARY, 'ternary'),
        (counts(1), BINARY, 'binary'),
        (counts(4), BINARY, 'real'),
        (counts(1, 0.5), BINARY, 'real'),
        (None, BINARY, 'real'),
        (SpikeDomain(-1, 0), BINARY, 'ternary'),
    ],
)
def test_product_of_domains(q, k, product):
    assert product_of(q, k) == product


class Undeclared(nn.Module):
    """A neuron of a user that derives from nothing of ours and counts up to three."""

    def forward(self, x):
        return x.round().clamp(0, 3)


def test_an_undeclared_neuron_is_measured():
    kind = build_attention(
        dict(type='mmbsa.BipolarSelfAttention', product='binary'),
        embed_dims=C,
        num_heads=2,
        neuron=dict(type=Undeclared),
        out_neuron='family',
        ternary=dict(type=Undeclared),
    )
    assert domain_of(kind.q_neuron) == counts(3) and kind.product == 'real'
    with pytest.raises(
        ValueError, match='q_neuron .Undeclared. cannot run step by step: it has no run'
    ):
        stream(kind, potentials())


def test_spikes_outside_of_the_domain_are_found(monkeypatch):
    class Liar(Undeclared):
        domain = BINARY

    kind = build_attention(
        dict(type='mmbsa.BipolarSelfAttention', product='binary'),
        embed_dims=C,
        num_heads=2,
        neuron=dict(type=Liar),
        ternary=dict(type=Liar),
    )
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '1')
    with pytest.raises(
        ValueError, match=r'q of BipolarSelfAttention must be in \{0..1\}, found [23]'
    ):
        kind(potentials(), potentials(), potentials())
