"""Streaming: T steps one by one are the whole sequence, with a state that is explicit."""

import copy

import pytest
import torch
from torch import nn

from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, SpikingNeuron, State, is_streaming, stream

LIF = dict(type='mmbsa.LIFNode', tau=2.0, v_threshold=0.5)


class Net(nn.Module):
    """Two layers, the second neuron called twice in a step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (
            MODELS.build(LIF),
            MODELS.build(dict(LIF, type='mmbsa.TernaryLIFNode')),
        )
        self.linear = nn.Linear(5, 5)

    def forward(self, x):
        x = self.linear(self.first(x))
        return self.second(x) + self.second(-2 * x)


def steps(model, x, state=None):
    outs = []
    for t in range(len(x)):
        out, state = stream(model, x[t : t + 1], state)
        outs.append(out)
    return torch.cat(outs), state


@pytest.fixture
def x():
    return 3 * torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0))


def test_stream_equals_the_whole_sequence(x):
    model = Net().eval()
    whole, (stepped, state) = model(x), steps(model, x)
    assert torch.equal(stepped, whole) and whole.unique().numel() > 2
    chunks, at_end = stream(model, x[4:], stream(model, x[:4])[1])
    assert torch.equal(chunks, whole[4:])
    assert set(state) == {'first', 'second'} and [len(state[k]) for k in state] == [1, 2]
    for a, b in zip(state['second'], at_end['second']):
        assert torch.equal(a, b)
    assert torch.equal(model(x), whole), 'nothing is kept in the model'


def test_stream_state_is_passed_not_changed(x):
    model = Net().eval()
    _, state = steps(model, x[:3])
    before = state.clone()
    first, second = steps(model, x[3:], state)[0], steps(copy.deepcopy(model), x[3:], state)[0]
    assert torch.equal(first, second)
    assert all(torch.equal(a, b) for k in state for a, b in zip(state[k], before[k]))


def test_stream_state_does_not_grow(x):
    model = Net().eval()
    sizes = {steps(model, x[:t])[1].nbytes for t in (1, 3, 6)}
    assert len(sizes) == 1 and sizes.pop() == 3 * 2 * 5 * 4


def test_stream_state_moves_and_is_saved(x, tmp_path):
    model = Net().eval()
    _, state = steps(model, x[:3])
    moved = state.to(torch.float64)
    assert moved['first'][0].dtype == torch.float64 and isinstance(moved, State)
    assert all(t.device.type == 'meta' for slots in state.to('meta').values() for t in slots)
    torch.save(state, tmp_path / 'state.pth')
    loaded = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert torch.equal(steps(model, x[3:], loaded)[0], model(x)[3:])


def test_stream_carries_gradients_until_detached(x):
    model = Net().eval()
    first = x[:1].clone().requires_grad_()
    _, state = stream(model, first)
    out, _ = stream(model, x[1:2], state)
    (grad,) = torch.autograd.grad(out.sum(), first, retain_graph=True)
    assert grad.any()
    out, _ = stream(model, x[1:2], state.detach())
    assert torch.autograd.grad(out.sum(), first, allow_unused=True) == (None,)


def test_stream_refuses_with_a_reason(x):
    model = nn.Sequential(MODELS.build(dict(type='mmbsa.PSN', T=6)))
    with pytest.raises(
        ValueError, match=r'stream: 0 \(PSN\) cannot run step by step: .* matrix over T'
    ):
        stream(model, x[:1])
    with pytest.raises(ValueError, match='state is from another model.*gone'):
        stream(Net(), x[:1], {'gone': (None,)})
    with pytest.raises(ValueError, match='compiled'):
        stream(torch.compile(Net(), backend='eager'), x[:1])
    assert not is_streaming(), 'an error ends the stream'


def test_stream_is_known_inside():
    class Probe(SpikingNeuron):
        domain = BINARY

        def run(self, x, state=None):
            seen.append((is_streaming(), state))
            return x, len(seen)

    seen, model = [], Probe()
    model(torch.ones(1, 1))
    _, state = stream(model, torch.ones(1, 1))
    stream(model, torch.ones(1, 1), state)
    assert seen == [(False, None), (True, None), (True, 2)] and not is_streaming()
