"""Neurons of other libraries under the contract: equal spikes, explicit state, gradients, clear
errors."""

from copy import deepcopy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mmbsa.models.neurons import ForeignNode, build_neuron
from mmbsa.spiking import BINARY, TERNARY, State, counts, stream

HIDDEN = dict(type='mmbsa.ForeignNode', cls='spikingjelly.LIFNode', tau=2.0, detach_reset=True)


class Membrane(NamedTuple):
    """State of :class:`Cell`."""

    v: Tensor
    depth: tuple


class Cell(nn.Module):
    """A neuron as Norse writes them: the state is passed in and returned, as a named tuple that
    nests."""

    def __init__(self, decay: float = 0.5):
        super().__init__()
        self.decay = nn.Parameter(torch.tensor(decay))

    def forward(self, x, state: Membrane | None = None):
        state = Membrane(torch.zeros_like(x), (torch.zeros_like(x),)) if state is None else state
        v = self.decay * state.v + x
        return (v > 1) * 1.0 + 0 * v, Membrane(v * (v <= 1), (state.depth[0] + 1,))


def snntorch_neuron(**options):
    pytest.importorskip('snntorch', reason='snnTorch is not installed')
    return build_neuron(
        dict(
            type='mmbsa.ForeignNode',
            cls='snntorch.Leaky',
            beta=0.5,
            reset_mechanism='zero',
            reset_delay=False,
            **options,
        )
    )


def neuron(kind):
    if kind == 'arguments':
        return snntorch_neuron(learn_beta=True)
    return build_neuron(HIDDEN) if kind == 'hidden' else ForeignNode(Cell)


def current(steps=6):
    return torch.randn(steps, 2, 5, 3, 3, generator=torch.Generator().manual_seed(1)) + 0.4


def test_leaky_of_snntorch_fires_like_lif_of_spikingjelly():
    ours = build_neuron(
        dict(type='mmbsa.LIFNode', tau=2.0, decay_input=False, v_threshold=1.0, v_reset=0.0)
    )
    spikes, expected = snntorch_neuron()(current(16)), ours(current(16))
    assert torch.equal(spikes, expected) and 0.1 < spikes.mean() < 0.6


def test_gradients_are_those_of_the_library():
    snntorch = pytest.importorskip('snntorch', reason='snnTorch is not installed')
    x = current().requires_grad_()
    node = snntorch_neuron(
        spike_grad=dict(type='snntorch.surrogate.fast_sigmoid', slope=10), learn_beta=True
    )
    node(x).square().sum().backward()
    ours, beta = x.grad, node.node.beta.grad
    theirs = snntorch.Leaky(
        beta=0.5,
        reset_mechanism='zero',
        reset_delay=False,
        learn_beta=True,
        spike_grad=snntorch.surrogate.fast_sigmoid(slope=10),
    )
    y, mem, total = current().requires_grad_(), torch.zeros_like(x[0]), 0
    for step in y:
        spikes, mem = theirs(step, mem)
        total = total + spikes.square().sum()
    total.backward()
    torch.testing.assert_close(ours, y.grad)
    torch.testing.assert_close(beta, theirs.beta.grad)
    assert ours.abs().sum() > 0 and beta != 0


def test_hidden_neuron_equals_its_stateless_twin():
    x = current().requires_grad_()
    build_neuron(HIDDEN)(x).sum().backward()
    y = current().requires_grad_()
    spikes = build_neuron(dict(type='mmbsa.LIFNode', tau=2.0, detach_reset=True))(y)
    spikes.sum().backward()
    assert torch.equal(build_neuron(HIDDEN)(current()), spikes)
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize('kind', ['arguments', 'returned', 'hidden'])
def test_state_is_explicit(kind):
    node, x = neuron(kind), current()
    spikes, last = node.run(x)
    before = {key: value.clone() for key, value in node.state_dict().items()}
    first, state = node.run(x[:2])
    node.run(torch.randn(3, 7))  # something else in between leaves nothing behind
    second, end = node.run(x[2:], state)
    assert torch.equal(torch.cat([first, second]), spikes)
    assert State(a=(end,)).nbytes == State(a=(last,)).nbytes > 0
    assert all(torch.equal(value, before[key]) for key, value in node.state_dict().items())
    fresh = neuron(kind)  # of another process: the state was saved as plain tuples
    plain = State(a=(state,)).detach()['a'][0]
    assert torch.equal(fresh.run(x[2:], plain)[0], second)
    assert torch.equal(deepcopy(node)(x), spikes)


@pytest.mark.parametrize('kind', ['arguments', 'returned', 'hidden'])
def test_stream_equals_the_whole_sequence(kind):
    model, x, state, steps = nn.Sequential(neuron(kind)), current(), None, []
    for step in x.split(1):
        out, state = stream(model, step, state)
        steps.append(out)
    assert torch.equal(torch.cat(steps), model(x))


def test_domain_is_measured_or_given():
    assert build_neuron(HIDDEN).domain == BINARY
    assert build_neuron(dict(HIDDEN, domain='ternary')).domain == TERNARY
    assert build_neuron(dict(HIDDEN, domain=dict(low=0, high=4, unit=0.5))).domain == counts(4, 0.5)
    assert build_neuron(dict(HIDDEN, domain='real')).domain is None
    assert (
        build_neuron(dict(type='mmbsa.ForeignNode', cls='torch.nn.Tanh', protocol='hidden')).domain
        is None
    )


@pytest.mark.parametrize(
    'change, error, message',
    [
        (dict(cls='no_such_library.Leaky'), ImportError, "needs the library 'no_such_library'"),
        (dict(cls='spikingjelly.NoSuchNode'), AttributeError, "has no 'NoSuchNode'"),
        (dict(cls='Leaky'), AttributeError, '<library>.<class>'),
        (dict(cls='torch.relu'), TypeError, 'must be a subclass of torch.nn.Module'),
        (dict(taau=2.0), TypeError, 'raised an error with the options'),
        (dict(domain='quaternary'), TypeError, 'ForeignNode.domain'),
        (dict(protocol='telepathy'), TypeError, 'ForeignNode.protocol'),
    ],
)
def test_mistakes_are_named(change, error, message):
    with pytest.raises(error, match=message):
        build_neuron({**HIDDEN, **change})


def test_neuron_of_another_shape_is_refused():
    node = ForeignNode('torch.nn.Flatten', domain='real', protocol='hidden')
    with pytest.raises(ValueError, match='returned shape'):
        node(current())
