"""The weight gradient of convolutions: exact on integers, within rounding on reals, and what may be
asked of it."""

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbsa.ops import conv_weight_grad, dispatch, implementations
from mmbsa.ops.conv_weight_grad import native, preferred

IMPLS = implementations('conv_weight_grad')
NATIVE = pytest.mark.skipif('native' not in IMPLS, reason='no C++ compiler')
LAST = torch.channels_last
EPS = 2.0**-24

#: N, C, O, (H, W), kernel, stride, padding, groups
DENSE = [
    (n, c, o, (11, 9), k, s, p, 1)
    for (n, c), o, (k, s, p) in itertools.product(
        [(1, 1), (2, 3), (1, 17), (2, 48)],
        [1, 7, 29],
        [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (5, 3, 4)],
    )
]
ODD = [
    (2, 16, 12, (1, 1), 3, 1, 1, 1),  # a map smaller than the kernel
    (1, 5, 6, (40, 33), (1, 7), (1, 2), (0, 3), 1),
    (1, 5, 6, (33, 40), (7, 1), (2, 1), (3, 0), 1),
    (2, 3, 8, (4, 6), 2, 1, 5, 1),  # rows of padding alone
    (3, 64, 300, (7, 5), 1, 1, 0, 1),  # outputs in two blocks
    (1, 33, 10, (30, 31), 3, 1, 1, 1),
    (2, 3, 5, (8, 8), 8, 8, 0, 1),
]
GROUPED = [
    (2, c, o, (9, 10), k, s, p, g)
    for (c, o, g), (k, s, p) in itertools.product(
        [(4, 4, 2), (12, 9, 3), (64, 32, 4), (34, 4, 2), (5, 15, 5), (1, 4, 1)],
        [(1, 1, 0), (3, 1, 1), (3, 2, 2)],
    )
]
DEPTHWISE = [
    (n, c, c, side, k, s, p, c)
    for (n, c), side, (k, s, p) in itertools.product(
        [(1, 3), (2, 17), (1, 48)],
        [(6, 5), (37, 67)],
        [(1, 1, 0), (3, 1, 1), (3, 2, 1), (7, 1, 3), (7, 2, 2), (9, 1, 4)],
    )
]
CASES = DENSE + ODD + GROUPED + DEPTHWISE


def operands(case, real=False, layout=LAST, dtype=torch.float32):
    """x, the gradient and the options; small integers unless ``real``, whose sums float32 holds
    exactly."""
    n, c, o, side, *options = case
    generator = torch.Generator().manual_seed(0)
    kernel, stride, padding = ((v, v) if isinstance(v, int) else v for v in options[:3])
    out = [(size + 2 * p - k) // s + 1 for size, k, s, p in zip(side, kernel, stride, padding)]

    def draw(*shape):
        x = (
            torch.randn(shape, generator=generator)
            if real
            else torch.randint(-4, 5, shape, generator=generator)
        )
        return x.to(dtype).contiguous(memory_format=layout)

    return draw(n, c, *side), draw(n, o, *out), options


def truth(x, grad, options):
    """By autograd, in float64."""
    kernel, stride, padding, groups = options
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    weight = torch.zeros(
        grad.size(1), x.size(1) // groups, *kernel, dtype=torch.float64, requires_grad=True
    )
    out = torch.conv2d(x.double(), weight, None, stride, padding, 1, groups)
    return torch.autograd.grad(out, weight, grad.double())[0]


@pytest.fixture
def threads():
    """Sets the number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize('impl', ['auto', *IMPLS])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_integers_are_exact(impl, case):
    x, grad, options = operands(case)
    found = conv_weight_grad(x, grad, *options, impl=impl)
    assert found.is_contiguous() and torch.equal(found.double(), truth(x, grad, options))
    found = conv_weight_grad(x, grad, *options, memory_format=LAST, impl=impl)
    assert found.is_contiguous(memory_format=LAST) and torch.equal(
        found.double(), truth(x, grad, options)
    )


@pytest.mark.parametrize('impl', ['auto', *IMPLS])
@pytest.mark.parametrize('stride', [100, 10**4, 10**9])
def test_strides_beyond_the_map(impl, stride):
    for groups in (1, 3):
        x, grad, options = operands((2, 3, 3, (5, 4), 3, stride, 1, groups))
        assert torch.equal(
            conv_weight_grad(x, grad, *options, impl=impl).double(), truth(x, grad, options)
        )


@NATIVE
@pytest.mark.parametrize('count', [1, 2, 3, 4, 6])
def test_threads_share_the_work_and_repeat_it_bit_by_bit(count, threads):
    """By columns, by positions and by both; there may be more threads than cores."""
    for case in (
        ODD
        + GROUPED[::5]
        + DEPTHWISE[::5]
        + [(2, 3, 70, (30, 30), 3, 1, 1, 1), (1, 80, 8, (9, 9), 3, 1, 1, 1)]
    ):
        x, grad, options = operands(case)
        threads(count)
        assert torch.equal(
            conv_weight_grad(x, grad, *options, impl='native').double(), truth(x, grad, options)
        ), case
        x, grad, options = operands(case, real=True)
        first = conv_weight_grad(x, grad, *options, impl='native')
        assert all(
            torch.equal(first, conv_weight_grad(x, grad, *options, impl='native')) for _ in range(3)
        ), case


@NATIVE
@pytest.mark.parametrize(
    'case',
    [
        (2, 48, 40, (61, 60), 3, 1, 1, 1),
        (4, 3, 16, (90, 90), 3, 2, 1, 1),
        (2, 64, 64, (50, 50), 3, 1, 1, 4),
        (2, 32, 32, (80, 80), 7, 1, 3, 32),
    ],
    ids=str,
)
def test_rounding_of_long_sums(case):
    """Blocks keep the error below what a sum of their length and of their number can have, not of
    all positions."""
    x, grad, options = operands(case, real=True)
    found = conv_weight_grad(x, grad, *options, impl='native')
    positions = grad.numel() // grad.size(1)
    roundings = 1024 if case[-1] == case[1] else 256 + positions / 128 + torch.get_num_threads()
    bound = roundings * EPS * truth(x.abs(), grad.abs(), options)
    assert ((found - truth(x, grad, options)).abs() <= bound).all()


@NATIVE
def test_weight_grad_takes_layouts():
    """Gradients of any layout are taken, expanded ones included; of x only channels-last."""
    x, grad, options = operands((2, 6, 4, (5, 6), 3, 1, 1, 1))
    expected = truth(x, grad, options)
    for other in (grad.contiguous(), grad.transpose(2, 3).contiguous().transpose(2, 3)):
        assert torch.equal(conv_weight_grad(x, other, *options, impl='native').double(), expected)
    ones = torch.ones(()).expand(grad.shape)
    assert torch.equal(
        conv_weight_grad(x, ones, *options, impl='native').double(), truth(x, ones, options)
    )
    for other in (x.contiguous(), torch.cat([x, x], 1)[:, :6]):
        with pytest.raises(
            RuntimeError,
            match="impl='native' does not support this call: the kernels support channels-last",
        ):
            conv_weight_grad(other, grad, *options, impl='native')
        assert torch.equal(conv_weight_grad(other, grad, *options).double(), expected)


@NATIVE
def test_refusals_name_their_reason():
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        x, grad, options = operands((1, 2, 3, (5, 5), 3, 1, 1, 1), dtype=dtype)
        with pytest.raises(RuntimeError, match=f'the kernels support float32, not {dtype}'):
            conv_weight_grad(x, grad, *options, impl='native')
        assert conv_weight_grad(x, grad, *options).dtype == dtype
    assert 'not on meta' in native.refuses(
        torch.empty(1, 2, 3, 3, device='meta'), 3, (1, 1), (1, 1), (0, 0), 1
    )


@NATIVE
def test_auto_knows_where_onednn_is_at_full_rate(monkeypatch):
    monkeypatch.delenv(dispatch.ENV, raising=False)
    dense, depthwise = operands(DENSE[-1])[0], operands(DEPTHWISE[-1])[0]
    for capability, expected in (
        ('AVX2', 'native'),
        ('AVX512', 'reference'),
        ('DEFAULT', 'reference'),
    ):
        monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda name=capability: name)
        assert preferred(dense, 29, (3, 3), (1, 1), (1, 1), 1) == expected
        assert preferred(depthwise, 48, (3, 3), (1, 1), (1, 1), 48) == 'native'
        assert preferred(depthwise, 96, (3, 3), (1, 1), (1, 1), 48) == 'reference'


@pytest.mark.parametrize('impl', IMPLS)
def test_weight_grad_of_empty_batches(impl):
    for n, side in ((0, 5), (2, 0)):
        x, grad = (torch.empty(n, c, side, side).contiguous(memory_format=LAST) for c in (4, 6))
        found = conv_weight_grad(x, grad, 1, impl=impl)
        assert found.shape == (6, 4, 1, 1) and not found.any()


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(x=torch.zeros(3, 5, 5)), r'x must be floating and \(N, C, H, W\)'),
        (dict(x=torch.zeros(2, 4, 5, 5, dtype=torch.int64)), 'x must be floating'),
        (
            dict(grad=torch.zeros(2, 6, 5, 5, dtype=torch.float64)),
            'grad must be torch.float32 on cpu',
        ),
        (dict(grad=torch.zeros(2, 6, 5)), r'grad must be \(N, O, OH, OW\)'),
        (dict(grad=torch.zeros(2, 6, 5, 4)), r'grad must be \(2, O, 5, 5\)'),
        (dict(grad=torch.zeros(1, 6, 5, 5)), r'grad must be \(2, O, 5, 5\)'),
        (dict(kernel_size=0), 'kernel_size must be an int or a pair'),
        (dict(kernel_size=(3, 3, 3)), 'kernel_size'),
        (dict(stride=0), 'stride must be'),
        (dict(padding=-1), 'padding must be'),
        (dict(padding=(1, 1.0)), 'padding must be'),
        (dict(groups=3), 'groups must divide'),
        (dict(groups=0), 'groups must divide'),
        (dict(memory_format=torch.preserve_format), 'memory_format must be'),
        (dict(impl='magic'), 'impl must be one of'),
    ],
)
def test_errors_name_the_argument(changes, message):
    call = (
        dict(x=torch.zeros(2, 4, 5, 5), grad=torch.zeros(2, 6, 5, 5), kernel_size=3, padding=1)
        | changes
    )
    with pytest.raises(ValueError, match=message):
        conv_weight_grad(**call)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('channels_last', [False, True])
def test_weight_grad_passes_opcheck(impl, channels_last):
    for case in (DENSE[-1], GROUPED[1], DEPTHWISE[1]):
        x, grad, options = operands(case, real=True)
        kernel, stride, padding = ([v, v] for v in options[:3])
        args = x, grad, kernel, stride, padding, options[3], channels_last, impl
        torch.library.opcheck(torch.ops.mmbsa.conv_weight_grad.default, args)
        with FakeTensorMode() as mode:
            fake = torch.ops.mmbsa.conv_weight_grad(
                *(mode.from_tensor(t) for t in args[:2]), *args[2:]
            )
        assert fake.stride() == torch.ops.mmbsa.conv_weight_grad(*args).stride()


@pytest.mark.parametrize('impl', ['auto', *IMPLS])
def test_compiles_without_graph_break(impl):
    x, grad, options = operands(DENSE[-1])
    compiled = torch.compile(
        lambda *t: conv_weight_grad(*t, *options, impl=impl) + 1,
        backend='aot_eager',
        fullgraph=True,
    )
    assert torch.equal(compiled(x, grad).double(), truth(x, grad, options) + 1)


def test_flop_counter():
    from torch.utils.flop_counter import FlopCounterMode

    import mmbsa.ops.flops  # noqa: F401

    for case in (DENSE[-1], GROUPED[-4], DEPTHWISE[4]):
        x, grad, options = operands(case)
        counts = []
        for function in (
            conv_weight_grad,
            lambda x, grad, *options: conv_weight_grad(x, grad, *options, impl='reference'),
        ):
            with FlopCounterMode(display=False) as counter:
                function(x, grad, *options)
            counts.append(counter.get_total_flops())
        kernel = options[0]
        assert counts == [2 * grad.numel() * x.size(1) // options[3] * kernel * kernel] * 2


def test_double_backward_raises():
    x, grad, options = operands(DENSE[-1], real=True)
    out = conv_weight_grad(x.requires_grad_(), grad, *options)
    with pytest.raises(NotImplementedError, match='double backward'):
        out.sum().backward()
