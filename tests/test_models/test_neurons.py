"""Neurons: SpikingJelly's numbers, no state between forwards, integer neurons as SDT-V3 defines
them."""

from copy import deepcopy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate as sj_surrogate

from mmbsa.models.neurons import (
    NODE_NAMES,
    bind_steps,
    build_neuron,
    readout_neuron,
    ternary_neuron,
)
from mmbsa.models.neurons.build import ALIASES
from mmbsa.models.neurons.surrogates import SURROGATES
from mmbsa.registry import MODELS

T, N = 4, 6
TABLE = dict(theta=[1.0, 0.5, 0.25, 0.1], h=[1.0, 0.5, 0.25, 0.1], d=[1.0, 0.5, 0.25, 0.1])
#: what SpikingJelly asks for beyond its defaults; everything else builds from the bare type.
NEEDS = {
    'FewSpikeNode': dict(table=TABLE),
    'HGNode': dict(tables=[TABLE, TABLE], gate_thresholds=[0.0]),
    'OutlierAwareThresholdNode': dict(table=TABLE, outlier_table=TABLE, split_threshold=1.0),
    'ILCCUBALIFNode': dict(act_dim=2, dec_pop_dim=3),
    'ILCIFNode': dict(act_dim=2, dec_pop_dim=3),
    'ILCLIFNode': dict(act_dim=2, dec_pop_dim=3),
    'NoisyILCCUBALIFNode': dict(act_dim=2, dec_pop_dim=3, T=T),
    'NoisyCUBALIFNode': dict(num_node=6, T=T),
    'NoisyNonSpikingIFNode': dict(num_node=6, T=T),
    'LIAFNode': dict(act='relu', threshold_related=True),
    'MPBNLIFNode': dict(out_features=6),
    'MaskedPSN': dict(k=2),
    'SlidingPSN': dict(k=2),
    'STBIFNode': dict(q_threshold=1, level=4),
    'SimpleLIFNode': dict(tau=2, decay_input=True),
}
#: nodes that draw noise or read membranes out, and are therefore no deterministic map from currents
#: to spikes.
NOISY = {name for name in NODE_NAMES if name.startswith('Noisy')}
READOUTS = {name for name in NODE_NAMES if 'NonSpiking' in name}
DETERMINISTIC = [name for name in NODE_NAMES if name not in NOISY | READOUTS]


def build(name):
    torch.manual_seed(0)
    return build_neuron(bind_steps(dict(type=f'mmbsa.{name}', **NEEDS.get(name, {})), T))


def currents(name=''):
    shape = (
        (T, N, 1, 3, 2) if name == 'GatedLIFNode' else (T, N, 6)
    )  # gated LIF has parameters per image channel
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2


@pytest.fixture
def current():
    return currents()


def test_every_spikingjelly_node_is_registered():
    public = {
        n
        for n in vars(sj)
        if (n.endswith('Node') or n.endswith('PSN'))
        and not n.endswith('BaseNode')
        and not n.startswith('_')
    }
    assert public == set(NODE_NAMES)


@pytest.mark.parametrize('alias, name', ALIASES.items())
def test_other_names(alias, name):
    node = build_neuron(bind_steps(dict(type=f'mmbsa.{alias}'), T))
    assert type(node) is type(build(name)) and type(node).__name__ == name
    assert readout_neuron(dict(type=f'mmbsa.{alias}')).get('norm') == (
        1 if name == 'IntegerNode' else None
    )
    with pytest.raises(KeyError, match=f"Did you mean .*'mmbsa.{alias}'"):
        build_neuron(dict(type=f'mmbsa.{alias}e'))


@pytest.mark.parametrize('name', NODE_NAMES)
def test_builds_and_fires(name):
    current = currents(name)
    out = build(name)(current)
    if name in READOUTS:  # membranes, as SpikingJelly returns them
        assert torch.isfinite(torch.stack(out) if isinstance(out, list) else out).all()
    elif name.startswith(('ILC', 'NoisyILC')):
        assert out.shape == (T, N, 6)
    else:
        assert out.shape == current.shape and torch.isfinite(out).all()


@pytest.mark.parametrize('name', DETERMINISTIC + ['IntegerNode', 'SignedIntegerNode'])
def test_no_state_survives_a_forward(name):
    node, current = build(name).eval(), currents(name)
    first, second = node(current), node(current)
    assert torch.equal(first, second)
    assert torch.equal(deepcopy(node)(current), first)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    assert torch.equal(node(current[:, order]), first[:, order])


@pytest.mark.parametrize('name', DETERMINISTIC + ['IntegerNode', 'SignedIntegerNode'])
def test_membranes_are_float32_under_autocast(name):
    node, current = build(name).eval(), currents(name).to(torch.bfloat16)
    with torch.autocast('cpu', torch.bfloat16):
        found = node(current)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, node(current.float()).to(torch.bfloat16))


def test_training_leaves_a_copyable_module(current):
    node = build('ParametricLIFNode')
    node(current.requires_grad_()).sum().backward()
    ema = ExponentialMovingAverage(node)
    assert torch.equal(ema(current), node(current))


@pytest.mark.parametrize(
    'name, kwargs',
    [
        ('LIFNode', dict(tau=2)),
        ('LIFNode', dict(tau=1.5, decay_input=False, detach_reset=True)),
        ('IFNode', {}),
        ('ParametricLIFNode', {}),
        ('TernaryLIFNode', dict(tau=2, detach_reset=True)),
        ('KLIFNode', {}),
        ('EIFNode', {}),
    ],
)
def test_same_numbers_as_spikingjelly(name, kwargs, current):
    ours = build_neuron(
        dict(type=f'mmbsa.{name}', surrogate_function=dict(type='ATan', alpha=3), **kwargs)
    )
    floats = {k: float(v) if type(v) is int else v for k, v in kwargs.items()}
    theirs = getattr(sj, name)(
        step_mode='m', surrogate_function=sj_surrogate.ATan(alpha=3.0), **floats
    )
    x, y = current.clone().requires_grad_(), current.clone().requires_grad_()
    weight = torch.randn(current.shape, generator=torch.Generator().manual_seed(3))
    out, expected = ours(x), theirs(y)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    assert isinstance(ours, getattr(sj, name))
    assert torch.equal(out, expected) and out.any()
    torch.testing.assert_close(x.grad, y.grad)  # fused nodes add the same terms in another order
    assert x.grad.any()


def test_surrogates_are_not_shared():
    a, b = build('LIFNode'), build('LIFNode')
    assert a.surrogate_function is not b.surrogate_function
    cfg = dict(type='mmbsa.LIFNode', surrogate_function=dict(type='Sigmoid', alpha=2.0))
    node = build_neuron(cfg)
    assert node.surrogate_function.alpha == 2.0 and cfg['surrogate_function'] == dict(
        type='Sigmoid', alpha=2.0
    )


@pytest.mark.parametrize(
    'cfg, error, words',
    [
        (dict(type='mmbsa.LIFNode', taau=2.0), TypeError, 'taau'),
        (dict(type='mmbsa.LIFNode', step_mode='s'), TypeError, 'step_mode'),
        (dict(type='mmbsa.NoNode'), KeyError, 'mmbsa.LIFNode'),
        (dict(type='mmbsa.LIFNode', surrogate_function='Tan'), KeyError, 'ATan'),
        ('LIF', TypeError, 'dict'),
        (dict(type='mmbsa.IntegerNode', levels=0), ValueError, 'levels'),
        (dict(type='mmbsa.IntegerNode', rounding='up'), ValueError, 'half_even'),
    ],
)
def test_bad_configs_name_the_key(cfg, error, words):
    with pytest.raises(error, match=words):
        build_neuron(cfg)


def test_integer_node_rounds_half_to_even_and_passes_gradients_inclusively():
    x = torch.tensor([[-0.1, 0.0, 0.5, 1.5, 2.5, 3.9, 4.0, 4.1]], requires_grad=True)
    out = build_neuron(dict(type='mmbsa.IntegerNode'))(x)
    assert torch.equal(out * 4, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 4.0]]))
    out.sum().backward()
    assert torch.equal(x.grad * 4, torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]]))


def test_integer_node_of_the_large_model_rounds_half_up_with_an_open_window():
    x = torch.tensor([[0.0, 0.5, 1.5, 2.5, 8.0]], requires_grad=True)
    out = build_neuron(
        dict(type='mmbsa.IntegerNode', levels=8, norm=1, rounding='half_up', window='exclusive')
    )(x)
    assert torch.equal(out, torch.tensor([[0.0, 1.0, 2.0, 3.0, 8.0]]))
    out.sum().backward()
    assert torch.equal(x.grad, torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0]]))


def test_signed_integer_node_is_odd():
    x = torch.tensor([[-9.0, -1.4, -0.5, 0.0, 0.6, 9.0]], requires_grad=True)
    node = build_neuron(dict(type='mmbsa.SignedIntegerNode', levels=2, norm=1))
    out = node(x)
    assert torch.equal(out, torch.tensor([[-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]]))
    assert torch.equal(node(-x), -out)
    out.sum().backward()
    assert torch.equal(x.grad, torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0, 0.0]]))


def test_integer_node_over_time_is_spikingjellys_ilif(current):
    """With decay 1/4, no norm and the reset in the graph it is SpikingJelly's I-LIF with tau =
    4/3."""
    ours = build_neuron(dict(type='mmbsa.IntegerNode', norm=1, decay=0.25, detach_reset=False))
    theirs = sj.ILIFNode(step_mode='m')
    x, y = current.clone().requires_grad_(), current.clone().requires_grad_()
    out, expected = ours(x), theirs(y)
    assert torch.equal(out, expected)
    weight = torch.randn(current.shape, generator=torch.Generator().manual_seed(3))
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_ternary_neuron_takes_over_the_family_neuron():
    family = dict(
        type='mmbsa.LIFNode', tau=1.5, v_threshold=0.5, detach_reset=True, surrogate_function='ATan'
    )
    node = MODELS.build(ternary_neuron(family))
    assert (type(node).__name__, node.tau, node.v_threshold, node.detach_reset) == (
        'TernaryLIFNode',
        1.5,
        0.5,
        True,
    )
    assert isinstance(node.surrogate_function, sj_surrogate.ATan)
    integer = MODELS.build(ternary_neuron(dict(type='mmbsa.IntegerNode', decay=0.25)))
    assert integer.tau == pytest.approx(4 / 3) and not integer.decay_input
    assert MODELS.build(ternary_neuron(family, v_threshold=2.0)).v_threshold == 2.0
    assert (
        ternary_neuron(family, type='mmbsa.SignedIntegerNode', levels=1)['type']
        == 'mmbsa.SignedIntegerNode'
    )


def test_ternary_neuron_equations():
    """BSA eq. 9-11 with retention 1/2: charge, signed fire at both thresholds, hard reset to 0."""
    node = build_neuron(dict(type='mmbsa.TernaryLIFNode', tau=2, decay_input=False))
    x = torch.tensor([0.6, 0.8, -0.5, -1.0, 1.0]).view(5, 1)
    # U: .6 | .3+.8=1.1 -> +1, reset | -.5 | -.25-1=-1.25 -> -1, reset | 1 -> +1
    assert node(x).flatten().tolist() == [0.0, 1.0, 0.0, -1.0, 1.0]


@pytest.mark.parametrize('name', ['LIFNode', 'ParametricLIFNode', 'TernaryLIFNode', 'IntegerNode'])
def test_channels_last_maps_stay_channels_last(name):
    """Values as for contiguous maps; the layout survives forward and backward, or batch norm pays
    for it."""
    contiguous = torch.randn(T, 2, 6, 5, 3, generator=torch.Generator().manual_seed(0)) * 2
    last = contiguous.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    weight = torch.randn_like(last)
    node, grads = build(name), []
    for x in (contiguous, last):
        x.requires_grad_()
        out = node(x)
        (out * weight).sum().backward()
        grads.append(x.grad)
    assert torch.equal(node(contiguous), node(last))
    torch.testing.assert_close(*grads)
    assert out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert grads[1].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    'name',
    sorted(set(SURROGATES) - {'LogTailedReLU', 'MultiLevelSpikeCount', 'PoissonPass'}),
)
def test_surrogates_and_their_gradients_map_over_samples(name):
    surrogate, x = SURROGATES[name](), torch.randn(3, 5, generator=torch.manual_seed(0))
    assert torch.equal(torch.vmap(surrogate)(x), surrogate(x))
    leaf = x.clone().requires_grad_()
    surrogate(leaf).sum().backward()
    mapped = torch.vmap(torch.func.grad(lambda row: surrogate(row).sum()))(x)
    torch.testing.assert_close(mapped, leaf.grad)
