"""Values, gradients and layouts of bipolar attention, all implementations against float64 with
derived budgets.
"""

import itertools
import math

import pytest
import torch
from score_rows import refuses, spikes
from torch.autograd import gradcheck

from mmbsa.ops import bipolar_attention, implementations, shiftmax
from mmbsa.ops.bipolar_attention.common import GRADS, NORMALIZERS, PRODUCTS

LN2 = math.log(2.0)
IMPLS = [
    name for name in implementations('bipolar_attention') if name != 'triton'
]  # test_bipolar_triton.py
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
#: leading dimensions, n_q, n_k, d, d_v: the odd, the single, the unequal, more keys than a kernel's
#: block
SHAPES = [
    ((), 1, 1, 1, 1),
    ((2, 3), 63, 63, 16, 16),
    ((2, 1, 3), 40, 40, 6, 24),
    ((3,), 5, 500, 8, 3),
    ((1, 2), 500, 7, 33, 5),
    ((2,), 96, 1100, 4, 4),
]


def case_id(shape):
    lead, n_q, n_k, d, d_v = shape
    return f'{"x".join(map(str, lead)) or "-"},{n_q}x{n_k},{d}:{d_v}'


def make(shape, product, dtype, device='cpu', seed=0):
    lead, n_q, n_k, d, d_v = shape
    q = spikes((*lead, n_q, d), product=product, seed=seed)
    q[..., ::3, :] = 0  # every third query is silent
    tensors = (
        q,
        spikes((*lead, n_k, d), product=product, seed=seed + 1),
        spikes((*lead, n_k, d_v), 1, 'real', seed + 2),
    )
    return [x.to(device, dtype).requires_grad_() for x in tensors]


def run(operands, upstream, **kwargs):
    out = bipolar_attention(*operands, **kwargs)
    return [out.detach(), *torch.autograd.grad(out, operands, upstream)]


def budgets(q, k, v, upstream, dtype, normalizer, scale):
    """Largest error that rounding explains, for out and the three gradients, in float64.

    The same sums over absolute values, times the relative error of a weight (the band of
    ``sdpa._error``, and the rounding of a score of d products), times what sums over n and d_v add;
    16-bit kernels also round weights, and add gradients up over blocks of 32 queries or more in 16
    bits.
    """
    q, k, v, upstream = (x.detach().double() for x in (q, k, v, upstream))
    n, base = max(q.shape[-2], k.shape[-2]), LN2 if normalizer == 'shiftmax' else 1.0
    score, size = q @ k.mT * scale, q.abs() @ k.abs().mT * abs(scale)
    if normalizer == 'none':
        weight, grad_score = size, upstream.abs() @ v.abs().mT
    else:
        weight = shiftmax(score) if normalizer == 'shiftmax' else torch.softmax(score, -1)
        grad_weight = upstream.abs() @ v.abs().mT
        share = weight / weight.sum(-1, keepdim=True)
        grad_score = base * weight * (grad_weight + (share * grad_weight).sum(-1, keepdim=True))
    unit = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    top = float(size.max()) + math.log2(n)
    relative = unit * (
        11 * top + 22 * math.log2(n) + 58 + 1.81 * n + q.shape[-1] * top + 2 * n + 2 * v.shape[-1]
    )
    if dtype in (torch.float16, torch.bfloat16):
        relative += 2.0**-11 + torch.finfo(dtype).eps * (4 + n / 32)
    sums = (
        weight @ v.abs(),
        grad_score @ k.abs() * abs(scale),
        grad_score.mT @ q.abs() * abs(scale),
        weight.mT @ upstream.abs(),
    )
    return [relative * x + torch.finfo(dtype).tiny for x in sums]


def check(operands, dtype, **kwargs):
    upstream = torch.randn(
        *operands[0].shape[:-1], operands[2].shape[-1], generator=torch.Generator().manual_seed(9)
    )
    upstream = upstream.to(operands[0].device, dtype)
    found = run(operands, upstream, **kwargs)
    exact = [x.detach().double().requires_grad_() for x in operands]
    truth = run(exact, upstream.double(), **{**kwargs, 'impl': 'reference'})
    allowed = budgets(
        *operands, upstream, dtype, kwargs.get('normalizer', 'shiftmax'), kwargs.get('scale', 1.0)
    )
    for name, a, b, budget in zip(('out', 'grad_q', 'grad_k', 'grad_v'), found, truth, allowed):
        assert a.dtype == dtype and a.shape == b.shape
        excess = (a.double() - b).abs() - budget
        assert (excess <= 0).all(), f'{name}: {float(excess.max()):.3g} over the budget'


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('shape', SHAPES, ids=case_id)
@pytest.mark.parametrize('product, normalizer', list(itertools.product(PRODUCTS, NORMALIZERS)))
@pytest.mark.parametrize('impl', IMPLS)
def test_grid_against_float64(impl, product, normalizer, shape, device):
    if refuses(impl, torch.float32, normalizer, product, device=device):
        return
    for grad in GRADS if normalizer == 'shiftmax' else GRADS[:1]:
        check(
            make(shape, product, torch.float32, device),
            torch.float32,
            product=product,
            normalizer=normalizer,
            grad=grad,
            impl=impl,
        )


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('impl', IMPLS)
def test_other_dtypes(impl, normalizer, dtype, device):
    if refuses(impl, dtype, normalizer, device=device):
        return
    for shape in (SHAPES[1], SHAPES[2], SHAPES[5]):
        check(make(shape, 'ternary', dtype, device), dtype, normalizer=normalizer, impl=impl)


@pytest.mark.parametrize('scale', [0.25, -1.0, 3.0])
@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('impl', IMPLS)
def test_attention_scales_its_output(impl, normalizer, scale):
    for product in (
        p for p in ('ternary', 'real') if not refuses(impl, torch.float32, normalizer, p, scale)
    ):
        check(
            make(((2,), 50, 64, 8, 8), product, torch.float32),
            torch.float32,
            product=product,
            normalizer=normalizer,
            scale=scale,
            impl=impl,
        )


def test_reference_by_hand():
    """Two queries, three keys, worked out on paper."""
    q, k = (
        torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]),
    )
    v = torch.tensor([[1.0, 0.0], [0.0, 1.0], [8.0, 4.0]])
    out = bipolar_attention(
        q, k, v, impl='reference'
    )  # scores 2, 0, -2: 4 + 1 + 1/4 -> 8; and 0, 0, 0: 3 -> 4
    assert out.tolist() == [[0.5 + 8 / 32, 0.125 + 4 / 32], [9 / 4, 5 / 4]]
    out = bipolar_attention(q, k, v, normalizer='none', impl='reference')
    assert out.tolist() == [[2.0 - 16.0, -8.0], [0.0, 0.0]]
    torch.testing.assert_close(
        bipolar_attention(q, k, v, normalizer='softmax', impl='reference'),
        torch.softmax(q @ k.T, -1) @ v,
    )
    assert torch.equal(bipolar_attention(q, k, torch.eye(3), impl='reference'), shiftmax(q @ k.T))


@pytest.mark.parametrize('grad', GRADS)
@pytest.mark.parametrize('impl', IMPLS)
def test_gradient_is_that_of_the_straight_through_surrogate(impl, grad):
    """Central differences of softmax_2(q k^T) c v, c held ('ste'), and of 2^(q k^T - g) v, g held
    ('detach').
    """
    if refuses(impl, torch.float64, product='real'):
        return
    q, k, v = make(((2,), 4, 5, 3, 2), 'real', torch.float64)
    with torch.no_grad():
        weight = bipolar_attention(
            q, k, torch.eye(5, dtype=torch.float64).expand(2, 5, 5), product='real', impl=impl
        )
        weight_sum = weight.sum(-1, keepdim=True)
        g = (torch.exp2(q @ k.mT).sum(-1, keepdim=True)).log2().ceil()

    def surrogate(q, k, v):
        if grad == 'ste':
            return torch.softmax(LN2 * (q @ k.mT), -1) * weight_sum @ v
        return torch.exp2(q @ k.mT - g) @ v

    assert gradcheck(surrogate, (q, k, v))
    upstream = torch.randn(2, 4, 2, dtype=torch.float64)
    expected = torch.autograd.grad(surrogate(q, k, v), (q, k, v), upstream)
    found = run([q, k, v], upstream, product='real', grad=grad, impl=impl)
    torch.testing.assert_close(found[0], surrogate(q, k, v).detach(), rtol=1e-12, atol=1e-14)
    for a, b in zip(found[1:], expected):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize('normalizer', ['softmax', 'none'])
@pytest.mark.parametrize('impl', IMPLS)
def test_gradcheck_without_a_ceil(impl, normalizer):
    if refuses(impl, torch.float64, normalizer, 'real', 0.7):
        return
    operands = make(((2,), 4, 5, 3, 2), 'real', torch.float64)
    options = dict(product='real', normalizer=normalizer, scale=0.7, impl=impl)
    assert gradcheck(lambda *x: bipolar_attention(*x, **options), operands)


LAYOUTS = {
    'channels last': lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    'heads inside': lambda x: x.transpose(-2, -3).contiguous().transpose(-2, -3),
    'time inside': lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    'cut out': lambda x: torch.nn.functional.pad(x, (1, 2, 3, 4), value=torch.nan)[..., 3:-4, 1:-2],
    'expanded': lambda x: x[:, :1].expand_as(x),
    'every other': lambda x: x.repeat_interleave(2, -1)[..., ::2],
    'one token repeated': lambda x: x[..., :1, :].expand_as(x),
}


@pytest.mark.parametrize('layout', LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('impl', IMPLS)
def test_attention_takes_layouts(impl, normalizer, layout):
    if refuses(impl, torch.float32, normalizer):
        return
    for d_v in (8, 11):
        plain = [
            layout(x.detach()) for x in make(((2, 3, 2), 20, 20, 8, d_v), 'ternary', torch.float32)
        ]
        upstream = layout(
            torch.randn(2, 3, 2, 20, d_v, generator=torch.Generator().manual_seed(d_v))
        )
        strided = run(
            [x.requires_grad_() for x in plain], upstream, normalizer=normalizer, impl=impl
        )
        dense = run(
            [x.detach().contiguous().requires_grad_() for x in plain],
            upstream.contiguous(),
            normalizer=normalizer,
            impl=impl,
        )
        for a, b in zip(
            strided, dense
        ):  # BLAS adds up 20 terms in another order for other strides, and they may cancel
            torch.testing.assert_close(
                a, b, rtol=1e-5, atol=max(1e-6, 20 * 2.0**-24 * b.abs().max().item())
            )
        assert strided[0].is_contiguous()


@pytest.mark.parametrize('impl', IMPLS)
def test_upstream_gradient_without_strides(impl):
    operands = make(SHAPES[1], 'ternary', torch.float32)
    ones = torch.autograd.grad(
        bipolar_attention(*operands, impl=impl), operands, torch.ones(2, 3, 63, 16)
    )
    summed = torch.autograd.grad(bipolar_attention(*operands, impl=impl).sum(), operands)
    for a, b in zip(summed, ones):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('impl', IMPLS)
def test_nothing_to_compute(impl, normalizer):
    if refuses(impl, torch.float32, normalizer):
        return
    for shape in (((0,), 3, 4, 2, 2), ((2,), 0, 4, 2, 2), ((2,), 3, 4, 2, 0)):
        operands = make(shape, 'ternary', torch.float32)
        out = bipolar_attention(*operands, normalizer=normalizer, impl=impl)
        assert out.shape == (*shape[0], shape[1], shape[4])
        for grad, x in zip(torch.autograd.grad(out.sum(), operands), operands):
            assert torch.equal(grad, torch.zeros_like(x))


@pytest.mark.parametrize('impl', IMPLS)
def test_bytes_for_spikes(impl):
    q, k, v = make(SHAPES[1], 'ternary', torch.float32)
    out = bipolar_attention(q.to(torch.int8), k.to(torch.int8), v, impl=impl)
    assert torch.equal(out, bipolar_attention(q, k, v, impl=impl))
    assert torch.autograd.grad(out.sum(), v)[0].abs().sum() > 0


@pytest.mark.parametrize('normalizer', NORMALIZERS)
@pytest.mark.parametrize('impl', IMPLS)
def test_attention_under_autocast(impl, normalizer):
    """v goes to autocast's dtype.

    Inside the op nothing is cast: scores of 16-bit spikes stay exact.
    """
    if refuses(impl, torch.bfloat16, normalizer):
        return
    operands = make(((2,), 70, 300, 40, 40), 'ternary', torch.float32)
    upstream = torch.randn(2, 70, 40)
    plain = [x.detach().bfloat16().requires_grad_() for x in operands]
    expected = run(plain, upstream.bfloat16(), normalizer=normalizer, impl=impl)
    with torch.autocast('cpu', torch.bfloat16):
        found = run(operands, upstream.bfloat16(), normalizer=normalizer, impl=impl)
        mixed = bipolar_attention(
            operands[0], operands[1].half(), operands[2], normalizer=normalizer, impl=impl
        )
        double = bipolar_attention(
            operands[0],
            operands[1],
            operands[2].double(),
            normalizer=normalizer,
            impl='auto' if refuses(impl, torch.float64, normalizer) else impl,
        )
    assert found[0].dtype == mixed.dtype == torch.bfloat16 and double.dtype == torch.float64
    for a, b in zip((*found, mixed.detach()), (*expected, expected[0])):
        assert torch.equal(a.bfloat16(), b)


def test_bad_values_stay_visible():
    q, k, v = (x.detach() for x in make(SHAPES[1], 'real', torch.float32))
    q[0, 0, 5] = torch.nan
    takes = [impl for impl in IMPLS if not refuses(impl, product='real')]
    for impl, normalizer in itertools.product(takes, NORMALIZERS):
        out = bipolar_attention(q, k, v, product='real', normalizer=normalizer, impl=impl)
        assert out[0, 0, 5].isnan().all() and out.isnan().sum() == out.shape[-1]


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(q=torch.ones(3)), r'q must be \(\.\.\., n, d\)'),
        (dict(q=torch.ones(2, 4, 5)), 'q and k must have the same last dimension'),
        (
            dict(q=torch.ones(2, 4, 0), k=torch.ones(2, 6, 0)),
            'q and k must have the same last dimension d > 0',
        ),
        (dict(k=torch.ones(3, 6, 2)), r'k must have the leading dimensions \(2,\) of v'),
        (dict(q=torch.ones(4, 2)), r'q must have the leading dimensions \(2,\) of v'),
        (dict(v=torch.ones(2, 5, 3)), 'k and v must have the same number of tokens'),
        (dict(k=torch.ones(2, 0, 2), v=torch.ones(2, 0, 3)), 'k must have at least one token'),
        (
            dict(v=torch.ones(2, 6, 3, dtype=torch.int64)),
            'v must be float16, bfloat16, float32 or float64',
        ),
        (dict(q=torch.ones(2, 4, 2, dtype=torch.bool)), 'q must hold real numbers'),
        (dict(k=torch.ones(2, 6, 2, device='meta')), 'k is on meta, v on cpu'),
        (dict(product='spikes'), "product must be one of .*'ternary'"),
        (dict(normalizer='relu'), "normalizer must be one of .*'shiftmax'"),
        (dict(grad='none'), "grad must be one of .*'ste'"),
        (dict(impl='flash'), "impl must be one of .*'reference'"),
    ],
)
def test_errors_name_the_argument(change, message):
    call = dict(q=torch.ones(2, 4, 2), k=torch.ones(2, 6, 2), v=torch.ones(2, 6, 3)) | change
    with pytest.raises(ValueError, match=message):
        bipolar_attention(call.pop('q'), call.pop('k'), call.pop('v'), **call)


@pytest.mark.parametrize(
    'product, value, allowed',
    [
        ('ternary', 2.0, r'\(-1, 0, 1\)'),
        ('binary', -1.0, r'\(0, 1\)'),
        ('ternary', 0.5, r'\(-1, 0, 1\)'),
        ('binary', math.nan, r'\(0, 1\)'),
    ],
)
@pytest.mark.parametrize('impl', ['auto', *IMPLS])
def test_check_of_spikes_names_the_operand_and_the_value(
    impl, product, value, allowed, monkeypatch
):
    good, v = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.ones(2, 3)
    wrong = good.clone()
    wrong[1, 0] = value
    bipolar_attention(
        wrong, good, v, product=product, impl=impl
    )  # the caller answers for its operands
    monkeypatch.setenv('MMBSA_CHECK_SPIKES', '1')
    for name, q, k in (('q', wrong, good), ('k', good, wrong)):
        with pytest.raises(
            ValueError,
            match=f"{name} holds {value:g}, but product='{product}' allows only the values "
            f'{allowed}',
        ):
            bipolar_attention(q, k, v, product=product, impl=impl)
    if impl == 'auto' or not refuses(impl, torch.float32, product='real'):
        bipolar_attention(wrong, wrong, v, product='real', impl=impl)
    assert torch.equal(
        bipolar_attention(good, good, v, product=product, impl=impl),
        bipolar_attention(good, good.to(torch.int8), v, product=product, impl=impl),
    )


@pytest.mark.parametrize('product', PRODUCTS)
@pytest.mark.parametrize('levels', [1, 4])
def test_auto_equals_the_reference_inside_the_domain(product, levels):
    """Counts of several levels are real; told so, 'auto' is as right as the reference."""
    for seed in range(3):
        q, k = (
            spikes((2, 3, 9, 8), 0.4, 'ternary' if product == 'real' else product, seed + s)
            for s in (0, 9)
        )
        if product == 'real':
            q, k = q * levels, k * levels
        operands = q.requires_grad_(), k.requires_grad_(), torch.randn(2, 3, 9, 5).requires_grad_()
        check(operands, torch.float32, product=product, impl='auto')
