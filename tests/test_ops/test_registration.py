"""The short way to an op: the same as the registered op, and not taken where somebody looks on."""
import pytest
import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from mmbsa.ops import bipolar_attention, integer_spike, lif, registration, shiftmax


def attention(x):
    spikes = x.sign() * (x.abs() > 1)
    return bipolar_attention(spikes, spikes, x)


OPS = {'lif': lif, 'integer_spike': lambda x: integer_spike(x, 4), 'shiftmax': shiftmax, 'bipolar_attention': attention}


class Watch(TorchDispatchMode):
    """Names of the operations that reach dispatch."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=OPS)
def name(request):
    return request.param


def maps(channels_last: bool = True) -> torch.Tensor:
    x = torch.randn(3, 2, 5, 6, 7, generator=torch.Generator().manual_seed(0)) * 3
    return x.permute(0, 1, 4, 2, 3).requires_grad_() if channels_last else x.requires_grad_()


def run(op, x):
    out = op(x)
    return out, torch.autograd.grad(out.square().sum(), x)[0]


def test_both_ways_give_the_same(name, monkeypatch):
    x = maps()
    short = run(OPS[name], x)
    monkeypatch.setattr(registration, '_plain', lambda args: False)
    registered = run(OPS[name], x)
    for a, b in zip(short, registered):
        assert torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype


def test_the_short_way_is_taken(name, monkeypatch):
    taken, plain = [], registration._plain
    monkeypatch.setattr(registration, '_plain', lambda args: taken.append(plain(args)) or taken[-1])
    run(OPS[name], maps())
    with torch.no_grad():
        OPS[name](maps())
    assert len(taken) == 3 and all(taken)  # forward, backward, forward without a gradient


def test_modes_and_profilers_see_the_registered_op(name):
    x = maps()
    with Watch() as watch:
        run(OPS[name], x)
    assert {f'mmbsa::{name}', f'mmbsa::{name}_bwd'} <= watch.seen
    with profile() as record:
        run(OPS[name], x)
    assert {f'mmbsa::{name}', f'mmbsa::{name}_bwd'} <= {event.name for event in record.events()}


def test_subclasses_of_tensors_see_the_registered_op(name):
    class Logging(torch.Tensor):
        seen = set()

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.seen.add(str(func))
            return super().__torch_function__(func, types, args, kwargs)

    OPS[name](maps().detach().as_subclass(Logging))
    assert any(f'mmbsa.{name}' in seen for seen in Logging.seen)


@pytest.mark.parametrize('short', [True, False])
def test_results_can_be_changed_in_place(name, short, monkeypatch):
    x = maps()
    monkeypatch.setattr(registration, '_plain', lambda args: short)
    (expected,) = torch.autograd.grad((OPS[name](x) * 2).square().sum(), x)
    out = OPS[name](x)
    if name in ('shiftmax', 'bipolar_attention'):  # which save their result for the backward
        with pytest.raises(RuntimeError, match='modified by an inplace operation'):
            torch.autograd.grad(out.mul_(2).square().sum(), x)
    else:
        assert torch.equal(torch.autograd.grad(out.mul_(2).square().sum(), x)[0], expected)


def test_an_op_without_a_gradient_says_so(name):
    x = maps()
    (grad,) = torch.autograd.grad(OPS[name](x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f'mmbsa::{name}_bwd .* double backward'):
        grad.sum().backward()
