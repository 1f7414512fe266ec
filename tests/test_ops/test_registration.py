"""What sees an op of the package.

modes, profilers, subclasses, transforms of functions, compilers and exports.
"""

import io
import os
import subprocess
import sys

import pytest
import torch
from torch.func import grad, jacrev, vjp
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from mmbsa.ops import bipolar_attention, implementations, integer_spike, lif, shiftmax
from mmbsa.ops.registration import Differentiable


def attention(x, **kwargs):
    spikes = x.sign() * (x.abs() > 1)
    return bipolar_attention(spikes, spikes, x, **kwargs)


def carried(x):
    spikes, v = lif(x[:1], 0.0, v_reset=None)
    return lif(x[1:], v, v_reset=None)[1] + spikes[0]


#: op -> a function of x that calls it, and others that use it in other ways.
OPS = {
    'lif': lif,
    'integer_spike': lambda x: integer_spike(x, 4),
    'shiftmax': shiftmax,
    'bipolar_attention': attention,
}
FUNCTIONS = OPS | {
    'lif with a state': carried,
    'shiftmax of the first': lambda x: shiftmax(x, 0),
    'softmax': lambda x: attention(x, normalizer='softmax'),
    'real product': lambda x: bipolar_attention(x, x.flip(0), x, product='real', grad='detach'),
    'linear': lambda x: attention(x, normalizer='none', scale=0.5),
}


class Watch(TorchDispatchMode):
    """Names of the operations that reach dispatch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=OPS)
def name(request):
    return request.param


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return FUNCTIONS[request.param]


def maps(channels_last: bool = True) -> torch.Tensor:
    x = torch.randn(3, 2, 5, 6, 7, generator=torch.Generator().manual_seed(0)) * 3
    return x.permute(0, 1, 4, 2, 3).requires_grad_() if channels_last else x.requires_grad_()


def run(op, x):
    out = op(x)
    return out, torch.autograd.grad(out.square().sum(), x)[0]


def test_functions_are_called_without_their_signature_in_eager_mode(monkeypatch):
    class Scale(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, factor):
            return x * factor, x.sum()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(inputs[0], output[0])

        @staticmethod
        def backward(ctx, grad, unused):
            x, out = ctx.saved_tensors
            return grad * (out / x), None

    scale = Differentiable(Scale)
    x = torch.arange(1.0, 7.0).view(2, 3).requires_grad_()
    with monkeypatch.context() as patch:
        patch.setattr(Scale, 'apply', None)
        out, total = scale(x, 3.0)
    assert torch.equal(out, 3 * x) and total == 21 and not total.requires_grad
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full((2, 3), 3.0))
    single = torch.vmap(grad(lambda row: scale(row, 3.0)[0].sum()))(x.detach())
    assert torch.equal(single, torch.full((2, 3), 3.0))
    compiled = torch.compile(lambda x: scale(x, 3.0)[0].sum(), backend='aot_eager', fullgraph=True)
    assert torch.equal(torch.autograd.grad(compiled(x), x)[0], torch.full((2, 3), 3.0))


def test_op_is_seen_once_by_modes_and_profilers(name):
    x = maps()
    expected = [f'mmbsa::{name}', f'mmbsa::{name}_bwd']
    with Watch() as watch:
        run(OPS[name], x)
    assert [seen for seen in watch.seen if seen.startswith('mmbsa')] == expected
    with Watch() as watch, torch.no_grad():
        OPS[name](x)
    assert [seen for seen in watch.seen if seen.startswith('mmbsa')] == expected[:1]
    with profile() as record:
        run(OPS[name], x)
    assert set(expected) <= {event.name for event in record.events()}


def test_op_is_seen_by_subclasses_of_tensors(name):
    class Logging(torch.Tensor):
        seen = set()

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.seen.add(str(func))
            return super().__torch_function__(func, types, args, kwargs)

    OPS[name](maps().detach().as_subclass(Logging))
    assert any(f'mmbsa.{name}' in seen for seen in Logging.seen)


@pytest.mark.parametrize('op', ['called', 'registered'])
def test_op_results_can_be_changed_in_place(name, op):
    x = maps()
    functions = {
        **OPS,
        'lif': lambda x: torch.ops.mmbsa.lif(
            x, None, 2.0, True, 1.0, 0.0, False, 'atan', 2.0, False, 'auto'
        )[0],
        'shiftmax': lambda x: torch.ops.mmbsa.shiftmax(x, -1, 'ste', 'auto'),
        'integer_spike': lambda x: torch.ops.mmbsa.integer_spike(
            x, 0.0, 4.0, 1.0, False, True, 'auto'
        )[0],
        'bipolar_attention': lambda x: torch.ops.mmbsa.bipolar_attention(
            x, x, x, 'real', 'shiftmax', 1.0, 'ste', 'auto'
        )[0],
    }
    function = (OPS if op == 'called' else functions)[name]
    (expected,) = torch.autograd.grad((function(x) * 2).square().sum(), x)
    out = function(x)
    if name in ('shiftmax', 'bipolar_attention'):  # which save their result for the backward
        with pytest.raises(RuntimeError, match='modified by an inplace operation'):
            torch.autograd.grad(out.mul_(2).square().sum(), x)
    else:
        assert torch.equal(torch.autograd.grad(out.mul_(2).square().sum(), x)[0], expected)


def test_op_without_a_gradient_says_so(name):
    x = maps()
    (first,) = torch.autograd.grad(OPS[name](x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=f'mmbsa::{name}_bwd .* double backward'):
        first.sum().backward()


@pytest.mark.parametrize('dim', [0, 1, -1])
def test_vmap_equals_a_loop(function, dim):
    x = torch.randn(4, 4, 5, 4, generator=torch.Generator().manual_seed(0)) * 2
    expected = torch.stack([function(part) for part in x.unbind(dim)])
    torch.testing.assert_close(torch.vmap(function, in_dims=dim)(x), expected)
    y = x.clone().requires_grad_()
    found = torch.autograd.grad(torch.vmap(function, in_dims=dim)(y).square().sum(), y)[0]
    z = x.clone().requires_grad_()
    loop = torch.autograd.grad(
        torch.stack([function(part) for part in z.unbind(dim)]).square().sum(), z
    )[0]
    torch.testing.assert_close(found, loop)


def test_vmap_over_one_operand_equals_a_loop():
    q, k = (torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(s)).sign() for s in (0, 1))
    v = torch.randn(6, 5)
    found = torch.vmap(bipolar_attention, in_dims=(0, None, None))(q, k[0], v)
    torch.testing.assert_close(found, torch.stack([bipolar_attention(part, k[0], v) for part in q]))
    x, v0 = torch.randn(3, 4, 5), torch.randn(7, 4, 5)
    for found, expected in zip(
        torch.vmap(lif, in_dims=(None, 0))(x, v0), zip(*(lif(x, part) for part in v0))
    ):
        assert torch.equal(found, torch.stack(expected))
    for found, expected in zip(
        torch.vmap(lif, in_dims=(2, None))(x, v0[0, :, 0]),
        zip(*(lif(part, v0[0, :, 0]) for part in x.unbind(2))),
    ):
        assert torch.equal(found, torch.stack(expected))


def test_transforms_of_functions_equal_autograd(function):
    x = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)) * 2

    def loss(x):
        return function(x).square().sum()

    y = x.clone().requires_grad_()
    out = function(y)
    rows = [torch.autograd.grad(value, y, retain_graph=True)[0] for value in out.flatten()]
    jacobian = torch.stack(rows).view(*out.shape, *x.shape)
    torch.testing.assert_close(jacrev(function)(x), jacobian)
    expected = torch.autograd.grad(loss(y), y)[0]
    torch.testing.assert_close(grad(loss)(x), expected)
    torch.testing.assert_close(vjp(function, x)[1](2 * out.detach())[0], expected)
    batch = torch.stack([x, -x, 2 * x])
    per_sample = torch.stack([grad(loss)(part) for part in batch])
    torch.testing.assert_close(torch.vmap(grad(loss))(batch), per_sample)
    per_sample = torch.stack([jacrev(function)(part) for part in batch])
    torch.testing.assert_close(torch.vmap(jacrev(function))(batch), per_sample)
    blocks = jacrev(torch.vmap(function))(batch).movedim(
        out.dim() + 1, 1
    )  # (of the result, of the input, ...)
    torch.testing.assert_close(blocks.diagonal(dim1=0, dim2=1).movedim(-1, 0), per_sample)
    assert not blocks[0, 1:].any()


class Network(torch.nn.Module):
    """Every op once."""

    def forward(self, x):
        spikes, v = lif(x, 0.0)
        x = integer_spike(x, 4) + spikes + v
        return shiftmax(attention(x) + bipolar_attention(x, x, x, product='real'))


@pytest.mark.parametrize('strict', [False, True])
def test_export_holds_auto_and_runs_without_a_compiler(tmp_path, strict):
    x = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0)) * 2
    program = torch.export.export(Network(), (x,), strict=strict)
    calls = [node for node in program.graph.nodes if str(node.target).startswith('mmbsa')]
    assert [str(node.target).split('.')[1] for node in calls] == [
        'lif',
        'integer_spike',
        'bipolar_attention',
        'bipolar_attention',
        'shiftmax',
    ]
    assert all(node.args[-1] == 'auto' for node in calls)
    torch.export.save(program, tmp_path / 'network.pt2')
    torch.save(x, tmp_path / 'x.pt')
    code = (
        'import sys, torch; from mmbsa.ops import implementations; f = sys.argv[1]; '
        'model = torch.export.load(f + "/network.pt2").module(); '
        'torch.save((model(torch.load(f + "/x.pt")), implementations("lif")), f + "/out.pt")'
    )
    subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)],
        check=True,
        env={**os.environ, 'CXX': 'no-such-compiler'},
    )
    out, there = torch.load(tmp_path / 'out.pt')
    assert there == ['reference'] and set(there) <= set(implementations('lif'))
    torch.testing.assert_close(out, Network()(x))


def test_export_of_a_named_implementation_keeps_its_name():
    class Named(torch.nn.Module):
        def forward(self, x):
            return lif(x, impl='reference')

    program = torch.export.export(Named(), (torch.randn(2, 3),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    assert [
        node.args[-1] for node in program.graph.nodes if str(node.target).startswith('mmbsa')
    ] == ['reference']
