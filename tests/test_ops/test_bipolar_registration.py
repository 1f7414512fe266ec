"""What torch.compile, opcheck, counters and fake tensors see of bipolar attention.

And how much memory it asks for.
"""

import itertools

import pytest
import torch
from score_rows import attention_stats, refuses, spikes
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmbsa.ops import bipolar_attention, implementations
from mmbsa.ops.bipolar_attention import sdpa
from mmbsa.ops.bipolar_attention.common import NORMALIZERS, TILE

IMPLS = [
    name for name in implementations('bipolar_attention') if name != 'triton'
]  # test_bipolar_triton.py


def operands(*lead, n=10, d=4, d_v=6, requires_grad=True):
    return [
        x.requires_grad_(requires_grad)
        for x in (
            spikes((*lead, n, d)),
            spikes((*lead, n + 1, d), seed=1),
            spikes((*lead, n + 1, d_v), product='real'),
        )
    ]


@pytest.mark.parametrize('impl, normalizer', list(itertools.product(IMPLS, NORMALIZERS)))
def test_bipolar_attention_passes_opcheck(impl, normalizer):
    if refuses(impl, torch.float32, normalizer):
        return
    op = torch.ops.mmbsa.bipolar_attention.default
    for lead in ((), (2, 3), (2, 1, 3)):
        tensors = operands(*lead)
        torch.library.opcheck(op, (*tensors, 'ternary', normalizer, 1.0, 'ste', impl))
    with torch.no_grad():
        results = attention_stats(*tensors, impl, normalizer=normalizer)
    upstream = torch.randn_like(results[0])
    args = (
        upstream,
        *(x.detach() for x in tensors),
        *results,
        'ternary',
        normalizer,
        1.0,
        'ste',
        impl,
    )
    torch.library.opcheck(torch.ops.mmbsa.bipolar_attention_bwd.default, args)
    with FakeTensorMode() as mode:
        fakes = torch.ops.mmbsa.bipolar_attention_bwd(
            *(mode.from_tensor(x) for x in args[:7]), *args[7:]
        )
    found = torch.ops.mmbsa.bipolar_attention_bwd(*args)
    assert [x.stride() for x in fakes] == [x.stride() for x in found]  # inductor relies on it


@pytest.mark.parametrize('impl', ['auto', *IMPLS])
def test_compiles_without_graph_break(impl):
    softmax = 'auto' if impl == 'auto' or refuses(impl, torch.float32, 'softmax') else impl

    def step(q, k, v):
        out = bipolar_attention(q.sign(), k.sign(), v, impl=impl)
        return (
            bipolar_attention(
                q, k, out[..., :1, :].expand_as(v) + v, normalizer='softmax', impl=softmax
            )
            .square()
            .sum()
        )

    tensors = operands(2, 3)
    compiled = torch.compile(step, backend='aot_eager', fullgraph=True)
    found = torch.autograd.grad(compiled(*tensors), tensors)
    for a, b in zip(found, torch.autograd.grad(step(*tensors), tensors)):
        torch.testing.assert_close(a, b)
    with torch.autocast('cpu', torch.bfloat16):
        assert (
            torch.compile(lambda *x: bipolar_attention(*x), backend='aot_eager', fullgraph=True)(
                *tensors
            ).dtype
            == torch.bfloat16
        )


class Names(TorchDispatchMode):
    """Names of the ops that pass."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('impl', IMPLS)
def test_counters_see_one_op_by_name(impl):
    with Names() as names:
        bipolar_attention(*operands(2, 3), impl=impl).sum().backward()
    ours = [name for name in names.seen if 'mmbsa' in name]
    assert ours == ['mmbsa.bipolar_attention.default', 'mmbsa.bipolar_attention_bwd.default']
    assert not any(
        'attention' in name or 'matmul' in name or 'bmm' in name
        for name in set(names.seen) - set(ours)
    )


def test_flop_counter():
    from torch.utils.flop_counter import FlopCounterMode

    import mmbsa.ops.flops  # noqa: F401

    tensors = operands(2, 3, n=31, d=4, d_v=6)
    with FlopCounterMode(display=False) as counter:
        out = bipolar_attention(*tensors)
    assert counter.get_total_flops() == 2 * 6 * 31 * 32 * (4 + 6)
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == 2 * 2 * 6 * 31 * 32 * (4 + 6)
    with FlopCounterMode(display=False) as counter:
        bipolar_attention(*tensors, normalizer='none')
    assert counter.get_total_flops() == 2 * 6 * (31 + 32) * 4 * 6


def test_double_backward_raises():
    tensors = operands(2)
    grads = torch.autograd.grad(
        bipolar_attention(*tensors).square().sum(), tensors, create_graph=True
    )
    with pytest.raises(NotImplementedError, match='double backward'):
        grads[0].sum().backward()


@pytest.mark.parametrize(
    'dtype, d, d_v',
    [
        (torch.float32, 5, 20),
        (torch.float32, 16, 16),
        (torch.bfloat16, 12, 48),
        (torch.bfloat16, 12, 12),
    ],
)
def test_calls_of_the_cuda_kernels_fit_their_schemas(dtype, d, d_v, monkeypatch):
    """Shapes and arguments only, on fake CUDA tensors.

    what a machine without a GPU can say about that path.
    """
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: (9, 0))
    with FakeTensorMode():

        def fake(*shape, kind=dtype):
            return torch.empty(shape, dtype=kind, device='cuda')

        q, k, v = fake(2, 3, 37, d), fake(2, 3, 41, d), fake(2, 3, 41, d_v)
        with Names() as names:
            out, lse = sdpa._attend(q, k, v, 0.5)
            assert (out.shape, lse.shape) == ((2, 3, 37, d_v), (2, 3, 37))
            assert (out.dtype, lse.dtype) == (dtype, torch.float32)
            grads = sdpa._attend_backward(
                fake(2, 3, 37, d_v), q, k, v, out, fake(2, 3, 37, kind=torch.float32), 0.5
            )
        assert [g.shape for g in grads] == [q.shape, k.shape, v.shape]
    kernel = 'flash' if dtype != torch.float32 and d == d_v else 'efficient'
    assert f'aten._scaled_dot_product_{kernel}_attention.default' in names.seen
    assert f'aten._scaled_dot_product_{kernel}_attention_backward.default' in names.seen


def test_reasons_of_refusal():
    class Where:
        def __init__(self, type_):
            self.type = type_

    class Like:
        def __init__(self, device, dtype, n):
            self.device, self.dtype, self.n = Where(device), dtype, n

        def size(self, dim):
            return self.n

    for device, dtype, n, word in (
        ('mps', torch.float32, 4, 'mps'),
        ('cuda', torch.float64, 4, 'float64'),
        ('cpu', torch.float32, 1 << 25, 'exact for at most'),
    ):
        like = Like(device, dtype, n)
        assert word in sdpa.refuses(like, like, like, 'shiftmax', 'ternary', 1.0)
        assert sdpa.refuses(like, like, like, 'none', 'ternary', 1.0) is None


class LargestAllocation(TorchDispatchMode):
    """Numbers of elements of every tensor that an op returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.numel = max(self.numel, x.numel())
        return result


@pytest.mark.parametrize('rate', [0.0, 0.003, 0.2, 1.0])
@pytest.mark.parametrize('normalizer', NORMALIZERS)
def test_no_map_of_scores_is_ever_held(normalizer, rate):
    """Nor where every row is on the edge.

    N_q differs from n_k, so that the map cannot hide behind another tensor.
    """
    n_q, n_k, d, d_v = 1024, 2048, 8, 16
    q, k, v = (
        spikes((1, 1, n_q, d), rate),
        spikes((1, 1, n_k, d), rate, seed=1),
        spikes((1, 1, n_k, d_v), 1, 'real'),
    )
    if rate == 1:
        q, k = torch.ones_like(q), torch.ones_like(k)
    with LargestAllocation() as watch:
        results = torch.ops.mmbsa.bipolar_attention(
            q, k, v, 'ternary', normalizer, 1.0, 'ste', 'sdpa'
        )
        torch.ops.mmbsa.bipolar_attention_bwd(
            torch.randn_like(results[0]),
            q,
            k,
            v,
            *results,
            'ternary',
            normalizer,
            1.0,
            'ste',
            'sdpa',
        )
    allowed = TILE if normalizer == 'shiftmax' and rate else 0
    assert watch.numel <= max(n_k * d_v, allowed) < n_q * n_k / 4


@pytest.mark.parametrize(
    'product, dtype', [('ternary', torch.int8), ('binary', torch.int8), ('real', torch.float32)]
)
def test_spikes_wait_for_the_backward_as_bytes(product, dtype):
    tensors = operands(2)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        bipolar_attention(*tensors, product=product)
    for x in tensors[:2]:
        assert [y.dtype for y in kept if torch.equal(y.float(), x.detach())] == [dtype]
