"""The Triton kernels of bipolar attention: g against big integers, values and gradients against
float64.

On a GPU these tests run there; without one, ``test_interpreter.py`` runs them in Triton's
interpreter, which costs some milliseconds per block and function. So sizes are small and odd, and
one program sees several blocks.
"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import attention_stats, make_row, operands, oracle_g, score_rows, spikes
from test_bipolar_attention import LAYOUTS, check, make, run

from mmbsa.ops import bipolar_attention, implementations, triton_support

DEVICE = 'cpu' if triton_support.INTERPRETED else 'cuda'
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
NORMALIZERS = ['shiftmax', 'softmax']
#: leading dimensions, n_q, n_k, d, d_v
SHAPES = [
    ((2,), 67, 65, 33, 16),
    ((1, 2), 7, 131, 16, 40),
    ((), 1, 1, 1, 1),
    ((), 65, 7, 64, 64),
    ((), 63, 64, 3, 5),
]


def check_rows(rows, q, k, dtype, product='ternary', scale=1.0):
    """g is the big integers'.

    Weight_sum is in [1/2, 1] and what the weights of a constant v add up to.
    """
    v = torch.ones(*k.shape[:-1], 2, dtype=dtype, device=DEVICE)
    out, g, weight_sum = attention_stats(
        q.to(DEVICE), k.to(DEVICE), v, 'triton', product, scale=scale
    )
    assert g.flatten().tolist() == [oracle_g(row) for row in rows]
    assert ((weight_sum >= 0.5) & (weight_sum <= 1)).all()
    torch.testing.assert_close(
        out[..., 0].double(), weight_sum.double(), rtol=4 * torch.finfo(dtype).eps + 1e-6, atol=0
    )


def test_is_there_and_is_asked():
    assert implementations('bipolar_attention')[0] == 'triton'
    q, k, v = (
        x.to(DEVICE) for x in (spikes((2, 9, 4)), spikes((2, 9, 4), seed=1), torch.randn(2, 9, 4))
    )
    taken = implementations('bipolar_attention')[
        int(triton_support.INTERPRETED)
    ]  # auto avoids the interpreter
    assert torch.equal(bipolar_attention(q, k, v), bipolar_attention(q, k, v, impl=taken))
    with pytest.raises(RuntimeError, match='not float64'):
        bipolar_attention(q.double(), k.double(), v.double(), impl='triton')
    with pytest.raises(RuntimeError, match='at most 256 channels, got 300'):
        bipolar_attention(q, k, torch.ones(2, 9, 300, device=DEVICE), impl='triton')


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@settings(max_examples=12, deadline=None)
@given(case=score_rows(max_n=700))
def test_edge_rows(dtype, case):
    row, d = case
    check_rows([row, [0] * len(row), [-x for x in row]], *operands(row, d, dtype), dtype)


@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16], ids=str
)  # weights with and without a maximum
@pytest.mark.parametrize('kind', ['above_power', 'below_power', 'power', 'one_hot', 'equal'])
def test_every_kind_of_edge(kind, dtype):
    import numpy as np

    for n, d in ((300, 64), (1024, 40), (130, 200)):
        row = make_row(kind, n, d, np.random.default_rng(n))
        check_rows([row, [0] * len(row), [-x for x in row]], *operands(row, d, dtype), dtype)


def test_long_runs_of_ones():
    """Sums 2^a - 2^-b whose last bit lies several windows below, and that a bit lower down lifts or
    does not.
    """
    for length in (60, 120, 126):
        row = [63 - i for i in range(1, length)]  # 2^63 - 2^(64 - length)
        tail = min(row)
        for more in ([], [tail], [tail, -64], [tail - 1] * 2, [tail - 1]):
            if min(row + more) >= -64:
                check_rows(
                    [row + more],
                    operands(row + more, 64)[0][:1],
                    operands(row + more, 64)[1],
                    torch.float32,
                )


@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 64),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.integers(0, 10**6),
    st.sampled_from(['ternary', 'binary']),
    st.sampled_from([torch.float32, torch.int8]),
)
def test_many_heads_of_spikes(n, d, rate, seed, product, dtype):
    q, k = (spikes((2, 9, d), rate, product, seed), spikes((2, n, d), rate, product, seed + 1))
    rows = (q.double() @ k.double().mT).flatten(0, 1).tolist()
    check_rows(rows, q.to(dtype), k.to(dtype), torch.float32, product)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 48),
    st.integers(1, 16),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 0.5, 2.0]),
    st.sampled_from(DTYPES[:2]),
)
def test_whole_numbers_of_real_operands(n, d, levels, seed, scale, dtype):
    generator = torch.Generator().manual_seed(seed)
    q, k = (
        2 * torch.randint(-levels, levels + 1, (rows, d), generator=generator).float()
        for rows in (5, n)
    )
    rows = (q.double() @ k.double().mT * scale).tolist()
    check_rows(rows, q.to(dtype), k.to(dtype), dtype, 'real', scale)


@pytest.mark.parametrize('n', [64, 256, 1024])
def test_silent_queries_and_silent_keys(n):
    v = torch.eye(n, device=DEVICE)[:, :60]
    for q, k in ((torch.zeros(70, 8), spikes((n, 8))), (spikes((70, 8)), torch.zeros(n, 8))):
        for dtype in (torch.float32, torch.int8):
            out, g, weight_sum = attention_stats(
                q.to(DEVICE, dtype), k.to(DEVICE, dtype), v, 'triton'
            )
            assert g.unique().tolist() == [n.bit_length() - 1]
            assert weight_sum.unique().tolist() == [1.0]
            assert torch.equal(out, torch.full_like(out, 1 / n))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize(
    'product, normalizer', list(itertools.product(['ternary', 'real'], NORMALIZERS))
)
def test_against_float64(product, normalizer, shape):
    for grad in ('ste', 'detach') if normalizer == 'shiftmax' else ('ste',):
        check(
            make(shape, product, torch.float32, DEVICE),
            torch.float32,
            product=product,
            normalizer=normalizer,
            grad=grad,
            impl='triton',
        )


@pytest.mark.parametrize('scale, product', [(0.25, 'ternary'), (-1.0, 'real')])
@pytest.mark.parametrize('normalizer', NORMALIZERS)
def test_triton_attention_scales_its_output(normalizer, scale, product):
    check(
        make(SHAPES[0], product, torch.float32, DEVICE),
        torch.float32,
        product=product,
        normalizer=normalizer,
        scale=scale,
        impl='triton',
    )


@pytest.mark.parametrize('dtype', DTYPES[1:], ids=str)
@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('product', ['ternary', 'real'])
def test_low_precision_errs_at_most_twice_as_much_as_eager(product, normalizer, dtype):
    """Both against float64 on the same rounded operands.

    Eager is the materialised formula, op by op in ``dtype``.
    """
    operands_ = make(((2,), 67, 129, 32, 32), product, dtype, DEVICE, seed=3)
    upstream = spikes((2, 67, 32), product='real', seed=7).to(DEVICE, dtype)
    found = run(operands_, upstream, product=product, normalizer=normalizer, impl='triton')
    exact = [x.detach().double().requires_grad_() for x in operands_]
    truth = run(exact, upstream.double(), product=product, normalizer=normalizer, impl='reference')
    eager = materialised(*operands_, normalizer, truth, exact)
    eager = [eager.detach(), *torch.autograd.grad(eager, operands_, upstream)]
    for name, a, b, c in zip(('out', 'grad_q', 'grad_k', 'grad_v'), found, truth, eager):
        ours, theirs = ((x.double() - b).norm() for x in (a, c))
        assert ours <= 2 * theirs, f'{name}: {ours:.3g} against {theirs:.3g}'


def materialised(q, k, v, normalizer, truth, exact):
    """The map in the operands' dtype.

    For Shiftmax with the true weight_sum, so that a tie of g is not what is compared.
    """
    score = q @ k.mT
    if normalizer == 'softmax':
        return torch.softmax(score, -1) @ v
    with torch.no_grad():
        weight_sum = attention_stats(*exact, 'reference', 'real')[2].to(v.dtype)
    return torch.softmax(score * 0.6931471805599453, -1) * weight_sum[..., None] @ v


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS)
def test_triton_attention_takes_layouts(layout):
    """Any strides are read, and written: a gradient lies in memory as its operand does."""
    plain = [
        layout(x.detach()) for x in make(((1, 2), 20, 20, 8, 11), 'ternary', torch.float32, DEVICE)
    ]
    upstream = layout(torch.randn(1, 2, 20, 11)).to(DEVICE)
    strided = run([x.requires_grad_() for x in plain], upstream, impl='triton')
    dense = run(
        [x.detach().contiguous().requires_grad_() for x in plain],
        upstream.contiguous(),
        impl='triton',
    )
    for a, b in zip(strided, dense):
        assert torch.equal(a, b)  # the same operations in the same order
    for grad, x in zip(strided[1:], plain):
        assert grad.stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize('normalizer', NORMALIZERS)
def test_bad_values_stay_visible(normalizer):
    q, k, v = (x.detach() for x in make(((), 9, 70, 8, 8), 'real', torch.float32, DEVICE))
    q[5] = torch.nan
    out, g, weight_sum = attention_stats(q, k, v, 'triton', 'real', normalizer)
    assert out[5].isnan().all() and g[5].isnan() and out.isnan().sum() == out.shape[-1]


def test_bytes_for_spikes_and_autocast():
    q, k, v = make(((2,), 33, 66, 24, 24), 'ternary', torch.float32, DEVICE)
    bytes_ = q.detach().to(torch.int8), k.detach().to(torch.int8)
    for dtype in (torch.float32, torch.bfloat16):
        values = v.detach().to(dtype).requires_grad_()
        out = bipolar_attention(*bytes_, values, impl='triton')
        plain = bipolar_attention(q.to(dtype), k.to(dtype), values, impl='triton')
        assert torch.equal(out, plain)
        assert torch.equal(*(torch.autograd.grad(x.sum(), values)[0] for x in (out, plain)))
    with torch.autocast(DEVICE, torch.bfloat16):
        assert torch.equal(bipolar_attention(q, k, v, impl='triton'), out)
        grads = torch.autograd.grad(bipolar_attention(q, k, v, impl='triton').sum(), (q, k, v))
    assert [x.dtype for x in grads] == [torch.float32] * 3


def test_nothing_to_compute():
    for shape in (((0,), 3, 4, 2, 2), ((2,), 0, 4, 2, 2), ((2,), 3, 4, 2, 0)):
        operands_ = make(shape, 'ternary', torch.float32, DEVICE)
        out = bipolar_attention(*operands_, impl='triton')
        for grad, x in zip(torch.autograd.grad(out.sum(), operands_), operands_):
            assert torch.equal(grad, torch.zeros_like(x))


@pytest.mark.parametrize(
    'lead, dtype', [((), torch.float32), ((2, 1, 2), torch.float32), ((2,), torch.int8)], ids=str
)
def test_triton_attention_passes_opcheck(lead, dtype):
    q, k = spikes((*lead, 10, 4)), spikes((*lead, 11, 4), seed=1)
    v = spikes((*lead, 11, 6), product='real').to(DEVICE).requires_grad_()
    q, k = (x.to(DEVICE, dtype).requires_grad_(dtype.is_floating_point) for x in (q, k))
    options = 'ternary', 'shiftmax', 1.0, 'ste', 'triton'
    torch.library.opcheck(torch.ops.mmbsa.bipolar_attention.default, (q, k, v, *options))
    tensors = [x.detach() for x in (q, k, v)]
    results = attention_stats(*tensors, 'triton')
    args = torch.randn_like(results[0]), *tensors, *results, *options
    torch.library.opcheck(torch.ops.mmbsa.bipolar_attention_bwd.default, args)


def test_compiles_without_graph_break():
    operands_ = make(((2,), 9, 12, 4, 6), 'ternary', torch.float32, DEVICE)

    def step(q, k, v):
        return bipolar_attention(q, k, v, impl='triton').square().sum()

    compiled = torch.compile(step, backend='aot_eager', fullgraph=True)
    found, expected = (torch.autograd.grad(f(*operands_), operands_) for f in (compiled, step))
    for a, b in zip(found, expected):
        assert torch.equal(a, b)


def test_backward_is_deterministic():
    operands_ = make(SHAPES[0], 'ternary', torch.bfloat16, DEVICE)
    upstream = torch.ones(2, 67, 16, device=DEVICE, dtype=torch.bfloat16)
    first, second = (run(operands_, upstream, impl='triton') for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_small_real_queries_do_not_make_a_sum_exact():
    """1 + 2^-30 is 1 in float32; of real operands the sum of |q| says nothing about the scores."""
    q = torch.full((1, 1, 1, 1), 0.125)
    k = torch.tensor([0.0, -240.0]).view(1, 1, 2, 1)
    check_rows([[0, -30]], q, k, torch.float32, 'real')
