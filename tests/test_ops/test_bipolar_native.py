"""What is special to bipolar attention in C++.

bytes that overflow, ties at odd sizes, strides, threads, silence.
"""

import numpy as np
import pytest
import torch
from score_rows import attention_stats, make_row, operands, oracle_g, spikes
from test_bipolar_attention import check, make, run

from mmbsa.ops import bipolar_attention
from mmbsa.ops.bipolar_attention import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))


def check_rows(rows, q, k):
    """g is the big integers', weight_sum lies in [1/2, 1], and out of a constant v is the
    weight_sum.
    """
    out, g, weight_sum = attention_stats(q, k, torch.ones(*k.shape[:-1], 2), 'native')
    assert g.flatten().tolist() == [oracle_g(row) for row in rows]
    assert ((weight_sum >= 0.5) & (weight_sum <= 1)).all()
    torch.testing.assert_close(
        out[..., 0], weight_sum, rtol=(k.size(-2) + 8) * 2**-24, atol=0
    )  # added up one by one


@pytest.mark.parametrize('rate', [0.4, 0.6, 1.0])
@pytest.mark.parametrize('d', [65, 127, 128, 129, 255, 256, 300])
def test_scores_that_bytes_cannot_hold(d, rate):
    q, k = spikes((2, 9, d), rate), spikes((2, 300, d), rate, seed=1)
    q[:, 0], q[:, 1], k[:, 0], k[:, 1], k[:, 7] = 1, -1, 1, 1, -1
    check_rows((q.double() @ k.double().mT).flatten(0, 1).tolist(), q, k)
    tensors = [x.requires_grad_() for x in (q, k, torch.randn(2, 300, 5))]
    exact, upstream = [x.detach().double().requires_grad_() for x in tensors], torch.randn(2, 9, 5)
    for grad in ('ste', 'detach'):
        found = run(tensors, upstream, grad=grad, impl='native')
        for a, b in zip(found, run(exact, upstream.double(), grad=grad, impl='reference')):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_all_ones():
    for d in (64, 65, 127, 128, 256, 1000):
        ones = torch.ones(1, 6, d)
        out, g, weight_sum = attention_stats(ones, ones[:, :4], torch.eye(4)[None], 'native')
        assert (
            g.unique().tolist() == [d + 2]
            and weight_sum.unique().tolist() == [1.0]
            and out.unique().tolist() == [0.25]
        )
        out, g, weight_sum = attention_stats(-ones, ones[:, :3], torch.eye(3)[None], 'native')
        assert (
            g.unique().tolist() == [2 - d]
            and weight_sum.unique().tolist() == [0.75]
            and out.unique().tolist() == [0.25]
        )


@pytest.mark.parametrize(
    'kind', ['above_power', 'below_power', 'power', 'one_hot', 'equal', 'narrow']
)
@pytest.mark.parametrize(
    'n, d', [(1, 3), (2, 31), (37, 64), (255, 40), (257, 66), (301, 200), (1003, 128), (4099, 256)]
)
def test_ties_at_odd_sizes(n, d, kind):
    row = make_row(kind, n, d, np.random.default_rng(n))
    check_rows([row, [0] * len(row), [-x for x in row]], *operands(row, d))


def test_long_runs_of_ones():
    """Sums 2^a - 2^-b that a power lower down lifts, or does not."""
    for length in (20, 30, 60, 120, 126):
        row = [63 - i for i in range(1, length)]  # 2^63 - 2^(64 - length)
        tail = min(row)
        for more in (
            [],
            [tail],
            [tail, -64],
            [tail - 1] * 2,
            [tail - 1],
            [tail - 2, tail - 1, tail - 2],
        ):
            if min(row + more) >= -64:
                q, k = operands(row + more, 64)
                check_rows([row + more], q[:1], k)


def lay_out(x, layout):
    """(T, B, H, n, d) over memory (T, B, n, H, d) (channels last), (T, B, H, d, n), or with
    gaps."""
    if layout == 'channels last':
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == 'channels first':
        return x.mT.contiguous().mT
    return torch.nn.functional.pad(x, (1, 2, 3, 4), value=torch.nan)[..., 3:-4, 1:-2]


@pytest.mark.parametrize('bytes_', [False, True], ids=['floats', 'bytes'])
@pytest.mark.parametrize('layout', ['channels last', 'channels first', 'gaps'])
def test_operands_are_read_and_gradients_written_as_they_lie(layout, bytes_):
    for n_q, n_k, d, d_v in ((37, 150, 20, 20), (130, 5, 33, 17), (196, 196, 32, 128)):
        q, k = spikes((2, 1, 3, n_q, d)), spikes((2, 1, 3, n_k, d), seed=1)
        v, upstream = torch.randn(2, 1, 3, n_k, d_v), torch.randn(2, 1, 3, n_q, d_v)
        plain = [x.requires_grad_() for x in (q, k, v)]
        strided = [lay_out(x.detach(), layout).requires_grad_() for x in plain]
        expected, found = (
            run(plain, upstream, impl='native'),
            run(strided, lay_out(upstream, layout), impl='native'),
        )
        for a, b in zip(found, expected):
            assert torch.equal(a, b)
        for grad, x in zip(found[1:], strided):
            assert grad.stride() == torch.empty_like(x.detach()).stride()
        if bytes_:
            q, k = (lay_out(x.detach().half(), layout).to(torch.int8) for x in plain[:2])
            out = bipolar_attention(q, k, strided[2], impl='native')
            assert torch.equal(out, expected[0])
            assert torch.equal(torch.autograd.grad(out, strided[2], upstream)[0], expected[3])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(dtype):
    was = torch.get_num_threads()
    try:
        for lead, n_q, n_k in (((1,), 500, 700), ((3,), 130, 300), ((2, 8), 50, 60)):
            tensors = make((lead, n_q, n_k, 24, 40), 'ternary', dtype)
            upstream = torch.randn(*lead, n_q, 40).to(dtype)
            torch.set_num_threads(1)
            expected = run(tensors, upstream, impl='native')
            for threads in (2, 3, 8):
                torch.set_num_threads(threads)
                for a, b in zip(run(tensors, upstream, impl='native'), expected):
                    assert torch.equal(a, b)
    finally:
        torch.set_num_threads(was)


@pytest.mark.parametrize('product', ['ternary', 'binary'])
def test_silent_queries(product):
    """None, a few, most, all."""
    for rate in (0.0, 0.003, 0.02, 1.0):
        for n_q, n_k in ((130, 64), (97, 131)):
            q, k = spikes((2, n_q, 8), rate, product), spikes((2, n_k, 8), 0.3, product, seed=1)
            q[1, 5:90] = 0
            tensors = [x.requires_grad_() for x in (q, k, torch.randn(2, n_k, 19))]
            for grad in ('ste', 'detach'):
                check(tensors, torch.float32, product=product, grad=grad, impl='native')
            _, g, weight_sum = attention_stats(
                q.detach(), k.detach(), tensors[2].detach(), 'native', product
            )
            bits = (n_k - 1).bit_length()
            assert (g[1, 5:90] == bits).all() and (weight_sum[1, 5:90] == n_k / 2**bits).all()


@pytest.mark.parametrize('d_v', [1, 3, 8, 9, 16, 17, 24, 33, 128])
def test_widths_of_values(d_v):
    for n_q, n_k, d in ((1, 1, 1), (1, 70, 9), (70, 1, 9), (7, 5, 3), (121, 129, 16)):
        for grad in ('ste', 'detach'):
            check(
                make(((2, 3), n_q, n_k, d, d_v), 'ternary', torch.float32),
                torch.float32,
                grad=grad,
                impl='native',
            )


def test_values_that_are_not_finite_stay_in_their_columns():
    q, k, v = (x.detach() for x in make(((2,), 50, 300, 16, 20), 'ternary', torch.float32))
    v[0, 299, 3], v[1, 0, 19] = torch.nan, torch.inf
    out = bipolar_attention(q, k, v, impl='native')
    assert out[0, :, 3].isnan().all() and (out[1, :, 19] == torch.inf).all()
    assert (~out.isfinite()).sum() == 100


def test_operands_outside_their_product_are_harmless():
    """Nobody checks them, so they may give any result.

    But nothing is written where it should not be.
    """
    odd = 100 * torch.randn(2, 50, 70), torch.full((2, 60, 70), torch.nan)
    v = torch.randn(2, 60, 5).requires_grad_()
    for q, k in (odd, [x.nan_to_num().clamp(-128, 127).to(torch.int8) for x in odd]):
        out = bipolar_attention(q, k, v, impl='native')
        assert out.isfinite().all() and torch.autograd.grad(out.sum(), v)[0].isfinite().all()


@pytest.mark.parametrize(
    'change, reason',
    [
        (
            dict(v=torch.ones(2, 6, 3, dtype=torch.float64)),
            'float32 and bfloat16, not torch.float64',
        ),
        (dict(normalizer='softmax'), "support only normalizer='shiftmax', not 'softmax'"),
        (dict(normalizer='none'), "support only normalizer='shiftmax', not 'none'"),
        (dict(product='real'), "not 'real' and 1"),
        (dict(scale=0.5), 'and 0.5'),
    ],
)
def test_reasons_of_refusal(change, reason):
    call = dict(q=torch.ones(2, 4, 2), k=torch.ones(2, 6, 2), v=torch.ones(2, 6, 3)) | change
    tensors = [call.pop(name) for name in 'qkv']
    with pytest.raises(RuntimeError, match=f"impl='native' does not support this call: .*{reason}"):
        bipolar_attention(*tensors, **call, impl='native')
    assert bipolar_attention(*tensors, **call).shape == (2, 4, 3)  # the others take it


def test_limits_of_rows_and_widths():
    def reason(n, d):
        q, k, v = (torch.zeros(1).expand(1, 1, *shape) for shape in ((2, d), (n, d), (n, 4)))
        return native.refuses(q, k, v, 'shiftmax', 'ternary', 1.0)

    assert reason(1 << 24, native.MAX_WIDTH) is None
    assert f'at most {native.MAX_WIDTH} channels, got' in reason(8, native.MAX_WIDTH + 1)
    assert 'at most 16777216 keys, got 16777217' in reason((1 << 24) + 1, 8)
