"""LIF.

SpikingJelly's numbers, the reference against finite differences of a smooth twin, and every
implementation.
"""

import itertools
from functools import partial

import pytest
import torch
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate as sj_surrogate
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbsa.ops import dispatch, implementations, lif, registration, ternary_lif

IMPLS = [name for name in implementations('lif') if name != 'triton']  # test_lif_triton.py
SURROGATES = dict(
    sigmoid=(sj_surrogate.Sigmoid, 4.0),
    atan=(sj_surrogate.ATan, 2.0),
    piecewise_quadratic=(sj_surrogate.PiecewiseQuadratic, 1.5),
    rect=(sj_surrogate.Rect, 1.0),
)
LEAKS = [
    dict(tau=2.0),
    dict(tau=4 / 3),
    dict(tau=3.0, decay_input=False),
    dict(tau=2.0, decay_input=False),
    dict(tau=None),
]
RESETS = [
    dict(v_reset=0.0),
    dict(v_reset=None),
    dict(v_reset=-0.2),
    dict(v_reset=0.0, detach_reset=True),
    dict(v_reset=None, detach_reset=True),
]
GRID = [
    dict(signed=signed, **leak, **reset)
    for signed, leak, reset in itertools.product((False, True), LEAKS, RESETS)
]


def twin(surrogate='sigmoid', signed=False, tau=2.0, **kwargs):
    """SpikingJelly's node with the same parameters."""
    cls, alpha = SURROGATES[surrogate]
    kwargs = dict(kwargs, surrogate_function=cls(alpha=alpha), step_mode='m')
    name = ('Ternary' if signed else '') + ('IFNode' if tau is None else 'LIFNode')
    return getattr(sj, name)(**kwargs, **({} if tau is None else dict(tau=tau)))


def spikes_and_gradient(function, x, upstream):
    x = x.detach().requires_grad_()
    out = function(x)
    return out.detach(), torch.autograd.grad(out, x, upstream.expand_as(out))[0]


def refuses(impl, dtype):
    """Whether an implementation leaves a dtype to the others, and says so."""
    reason = dispatch.get('lif', impl).refuses(torch.zeros(1, 1, dtype=dtype))
    if reason:
        with pytest.raises(
            RuntimeError, match=f"impl='{impl}' does not support this call: .*{dtype}"
        ):
            lif(torch.zeros(1, 1, dtype=dtype), impl=impl)
    return bool(reason)


def assert_gradient(found, expected):
    """Terms of all steps add up and may cancel, so errors are counted in units of the largest
    gradient.
    """
    torch.testing.assert_close(
        found, expected, rtol=1e-5, atol=16 * 2**-24 * expected.abs().max().item()
    )


def currents(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator).mul_(1.5).to(dtype) for _ in range(2))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('case', GRID, ids=str)
def test_numbers_of_spikingjelly(impl, case):
    for surrogate, threshold in zip(SURROGATES, (1.0, 0.3, 0.7, 1.0)):
        x, upstream = currents(5, 3, 11)
        options = dict(case, v_threshold=threshold, surrogate=surrogate)
        expected = spikes_and_gradient(twin(**options), x, upstream)
        ours = partial(lif, alpha=SURROGATES[surrogate][1], impl=impl, **options)
        found = spikes_and_gradient(ours, x, upstream)
        assert torch.equal(found[0], expected[0])
        assert 0 < expected[0].abs().mean() < 1
        assert_gradient(found[1], expected[1])


@pytest.mark.parametrize('impl', IMPLS)
def test_threshold_is_reached_and_not_just_missed(impl):
    one, below = torch.tensor(1.0), torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    x = torch.stack([one, below, -one, -below])[None]
    assert lif(x, tau=None, impl=impl).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert lif(x, tau=None, signed=True, impl=impl).tolist() == [[1.0, 0.0, -1.0, 0.0]]
    third = torch.tensor(1 / 3)
    assert lif(third.view(1, 1), tau=None, v_threshold=1 / 3, impl=impl).item() == 1.0


def test_backward_is_the_derivative_of_a_smooth_neuron():
    """With spikes replaced by the surrogate's primitive, autograd of the equations must give the
    op's rule.

    Where no membrane is near a threshold, a steep sigmoid's primitive is the step itself, so both
    agree on the forward.
    """
    x = torch.tensor(
        [[1.9, 0.3, -2.2], [0.2, 2.4, -1.0], [1.8, -0.9, 2.7]], dtype=torch.float64
    ).mul_(2)
    alpha, tau = 40.0, 2.0
    for hard, signed in itertools.product((False, True), repeat=2):

        def smooth(x, hard=hard, signed=signed):
            v, total = torch.zeros_like(x[0]), 0.0
            for t, x_t in enumerate(x):
                h = v + (x_t - v) / tau
                upper = torch.sigmoid(alpha * (h - 1))
                lower = torch.sigmoid(alpha * (-h - 1)) if signed else torch.zeros_like(h)
                v = (1 - upper - lower) * h if hard else h - (upper - lower)
                total = total + (t + 1) * (upper - lower).sum()
            return total

        y = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(smooth(y), y)
        upstream = torch.arange(1.0, 4.0, dtype=x.dtype)[:, None].expand(3, 3)
        for impl in (impl for impl in IMPLS if not refuses(impl, x.dtype)):
            _, found = spikes_and_gradient(
                lambda x: lif(
                    x,
                    tau=tau,
                    v_reset=0.0 if hard else None,
                    alpha=alpha,
                    signed=signed,
                    impl=impl,
                ),
                x,
                upstream,
            )
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_lif_keeps_dtypes(impl, dtype):
    if refuses(impl, dtype):
        return
    x, upstream = currents(4, 37, dtype=dtype)
    for case in GRID[::3]:
        expected = spikes_and_gradient(
            lambda x: lif(x, impl='reference', **case),
            x.to(torch.float64),
            upstream.to(torch.float64),
        )
        spikes, grad = spikes_and_gradient(
            lambda x: lif(x, impl=impl, **case),
            x,
            upstream,
        )
        assert spikes.dtype == grad.dtype == dtype and torch.equal(spikes.double(), expected[0])
        torch.testing.assert_close(
            grad.double(),
            expected[1],
            rtol=4 * torch.finfo(dtype).eps,
            atol=1e-3 if dtype != torch.float64 else 1e-12,
        )


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('case', [case for case in GRID if 'detach_reset' not in case], ids=str)
def test_currents_of_16_bits_are_not_rounded_again(impl, dtype, case):
    if refuses(impl, dtype):
        return
    near = (
        torch.linspace(-4.0, 4.0, 1 << 12).to(dtype).unique()
    )  # the thresholds of all leaks are inside
    x = torch.stack([near, near.flip(0), near])
    assert torch.equal(lif(x, impl=impl, **case).float(), lif(x.float(), impl='reference', **case))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('signed, v_reset', list(itertools.product((False, True), (0.0, -0.3))))
def test_a_hard_reset_forgets_infinite_membranes(impl, signed, v_reset):
    huge = torch.tensor(70000.0).half()
    x = torch.stack([huge, -huge, torch.ones_like(huge)]).expand(3, 3).clone()
    x[1:] = 5.0
    x = x.float() if refuses(impl, x.dtype) else x
    expected = lif(x.float().clamp(-1e30, 1e30), signed=signed, v_reset=v_reset, impl='reference')
    kept = [0, 2] if not signed else [0, 1, 2]  # nothing resets -inf in a binary neuron
    assert torch.equal(
        lif(x, signed=signed, v_reset=v_reset, impl=impl).float()[:, kept], expected[:, kept]
    )


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('signed, surrogate', list(itertools.product((False, True), SURROGATES)))
def test_gradients_of_exploding_currents(impl, signed, surrogate):
    """Far from the threshold a slope is 0, also where alpha times the distance overflows, or the
    distance itself.
    """
    x = torch.tensor([torch.inf, -torch.inf, 3e38, -3e38, 1e30, 1.0]).expand(3, 6).clone()
    x[1:] = 0.7
    x = x[:, [0, 2, 4, 5]] if not signed else x  # nothing resets -inf in a binary neuron
    options = dict(
        signed=signed, surrogate=surrogate, alpha=SURROGATES[surrogate][1], detach_reset=True
    )
    found, expected = (
        spikes_and_gradient(partial(lif, impl=name, **options), x, torch.ones(3, 1))[1]
        for name in (impl, 'reference')
    )
    assert expected.isfinite().all()
    assert_gradient(found, expected)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('alpha', [1.0, 3.0, 0.7, 4.1])
def test_the_rectangle_ends_where_the_references_does(impl, alpha):
    steps = torch.arange(-3, 4, dtype=torch.int32)
    ends = torch.tensor([0.5 / alpha, -0.5 / alpha]).view(torch.int32)[:, None]
    x = (ends + steps).view(torch.float32).reshape(1, -1)
    options = dict(
        tau=None, surrogate='rect', alpha=alpha, v_threshold=1e-30
    )  # distances are x itself
    found, expected = (
        spikes_and_gradient(partial(lif, impl=name, **options), x, torch.ones(1, 1))[1]
        for name in (impl, 'reference')
    )
    assert torch.equal(found, expected) and 0 < expected.count_nonzero() < expected.numel()


@pytest.mark.parametrize('impl', IMPLS)
def test_layouts_survive(impl):
    x, upstream = currents(3, 2, 5, 7, 9)
    expected = spikes_and_gradient(lambda x: lif(x, impl='reference'), x, upstream)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 2))
    strided = torch.stack([x, x], -1)[..., 0]
    for layout, grads in itertools.product(
        (x, last, strided), (upstream, upstream.transpose(2, 3).contiguous().transpose(2, 3))
    ):
        spikes, grad = spikes_and_gradient(lambda x: lif(x, impl=impl), layout, grads)
        torch.testing.assert_close((spikes, grad), expected)
        if layout is not strided:
            assert spikes.stride() == grad.stride() == layout.stride()
    _, grad = spikes_and_gradient(lambda x: lif(x, impl=impl), x, torch.ones(()).expand_as(x))
    torch.testing.assert_close(
        grad, spikes_and_gradient(lambda x: lif(x, impl='reference'), x, torch.ones_like(x))[1]
    )


@pytest.mark.parametrize('impl', IMPLS)
def test_equal_steps_are_read_from_one_memory(impl):
    x = currents(2, 5, 7, 9)[0].contiguous(memory_format=torch.channels_last).requires_grad_()
    upstream = currents(4, 2, 5, 7, 9)[1]
    found = lif(x.expand(4, *x.shape), impl=impl)
    expected = lif(x.repeat(4, 1, 1, 1, 1), impl='reference')
    assert torch.equal(found, expected) and found[0].stride() == x.stride()
    torch.testing.assert_close(
        *(torch.autograd.grad(out, x, upstream)[0] for out in (found, expected))
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda t: assert_one_step(t, x), lambda t: t):
        lif(x.expand(4, *x.shape), impl=impl)


def assert_one_step(saved, x):
    assert saved.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return saved


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('shape', [(1,), (1, 1), (4, 0, 3), (7, 1), (1, 130)])
def test_odd_shapes(impl, shape):
    x, upstream = currents(*shape)
    spikes, grad = spikes_and_gradient(lambda x: ternary_lif(x, impl=impl), x, upstream)
    assert spikes.shape == grad.shape == x.shape
    assert torch.equal(spikes, lif(x, signed=True, impl='reference'))


@pytest.mark.parametrize('impl', IMPLS)
def test_opcheck_and_compile(impl):
    x = currents(3, 2, 5)[0].requires_grad_()
    rest = 2.0, True, 1.0, 0.0, False, 'sigmoid', 4.0, True, impl
    torch.library.opcheck(torch.ops.mmbsa.lif.default, (x, None, *rest))
    torch.library.opcheck(
        torch.ops.mmbsa.lif_bwd.default, (x.detach(), torch.empty(0), x.detach(), None, *rest)
    )
    last = torch.zeros(3, 2, 4, 5, 6).permute(0, 1, 4, 2, 3)
    with FakeTensorMode() as mode:
        assert torch.ops.mmbsa.lif(mode.from_tensor(last), None, *rest)[0].stride() == last.stride()
    compiled = torch.compile(
        lambda x: lif(x * 2, impl=impl) * x, backend='aot_eager', fullgraph=True
    )
    torch.testing.assert_close(compiled(x), lif(x * 2, impl='reference') * x)


@pytest.mark.parametrize('impl', IMPLS)
def test_compiles_for_any_batch(impl):
    compiled = torch.compile(
        lambda x: lif(x.unflatten(0, (3, -1)), impl=impl).sum(0),
        backend='aot_eager',
        fullgraph=True,
        dynamic=True,
    )
    for batch in (2, 5, 3):
        x, upstream = currents(3 * batch, 4, 5, 6)
        x = x.contiguous(memory_format=torch.channels_last)
        found, expected = (
            spikes_and_gradient(function, x, upstream[:batch])
            for function in (
                compiled,
                lambda x: lif(x.unflatten(0, (3, -1)), impl='reference').sum(0),
            )
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('impl', IMPLS)
def test_views_of_all_kinds(impl):
    base, upstream = currents(6, 8, 9)
    for view in (
        base[::2],
        base[:, ::2],
        base[..., 1:5],
        base.transpose(0, 1),
        base.as_strided((3, 4, 5), (1, 2, 1)),
        base[:1].expand(3, 8, 9)[..., ::3],
        base[:1, :1].expand(3, 8, 9),
        base[..., :1],
        base[0, 0, 0].expand(3, 4),
    ):
        expected = spikes_and_gradient(
            lambda x: lif(x, impl='reference'), view.contiguous(), upstream[0, 0, 0]
        )
        found = spikes_and_gradient(lambda x: lif(x, impl=impl), view, upstream[0, 0, 0])
        torch.testing.assert_close(found, expected)


def test_saves_nothing_but_its_input():
    x = currents(4, 100)[0].requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        lif(x)
    assert [t.data_ptr() for t in saved] == [x.data_ptr()]


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(tau=0.5), 'tau must be at least 1'),
        (dict(v_threshold=0.0), 'v_threshold must be positive'),
        (dict(alpha=-1.0), 'alpha must be positive'),
        (dict(v_reset=1.0), 'v_reset must be less than v_threshold=1.0'),
        (dict(v_reset=-1.5, signed=True), 'greater than -v_threshold'),
        (dict(surrogate='tanh'), 'surrogate must be one of'),
        (dict(impl='fast'), 'impl must be one of'),
    ],
)
def test_lif_refuses_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        lif(torch.zeros(2, 3), **change)
    with pytest.raises(ValueError, match='x must be floating and'):
        lif(torch.zeros(2, 3, dtype=torch.int64))


#: every leak, reset and sign, the surrogates in turn
STATE_CASES = [
    dict(case, surrogate=surrogate) for case, surrogate in zip(GRID, itertools.cycle(SURROGATES))
]
#: all of them in float32, a third in each of the others
STATE_DTYPES = [(torch.float32, case) for case in STATE_CASES] + [
    (dtype, case) for dtype in (torch.bfloat16, torch.float64) for case in STATE_CASES[::3]
]


def step_by_step(x, v0, **kwargs):
    """T calls of one step that carry the membrane, as one call over all of them would return it."""
    spikes, v = [], v0
    for x_t in x:
        s, v = lif(x_t[None], v, **kwargs)
        spikes.append(s)
    return torch.cat(spikes), v


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype, case', STATE_DTYPES, ids=str)
def test_state_steps_equal_the_sequence(impl, dtype, case):
    """Bit for bit, also in the layout of maps with channels last, and from rest as well as from any
    membrane.
    """
    if refuses(impl, dtype):
        return
    x, noise = currents(5, 2, 3, 4, 6, dtype=dtype)
    case = dict(case, impl=impl)
    for layout in (
        x,
        x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (5, 2)),
        x[..., ::2],
    ):
        state = noise[0].to(registration.working_dtype(dtype))[..., : layout.size(-1)]
        for v0 in (case['v_reset'] or 0.0, state):
            spikes, v = lif(layout, v0, **case)
            assert v.dtype == state.dtype and v.shape == layout.shape[1:]
            assert v.stride() == spikes[0].stride()
            alone = step_by_step(layout, v0, **case)
            assert torch.equal(spikes, alone[0]) and torch.equal(v, alone[1])
            expected = lif(layout, v0, **dict(case, impl='reference'))
            assert torch.equal(spikes, expected[0]) and torch.equal(v, expected[1])
            if not isinstance(v0, torch.Tensor):
                assert torch.equal(spikes, lif(layout, **case))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype, case', STATE_DTYPES, ids=str)
def test_state_gradients_of_parts_equal_those_of_the_sequence(impl, dtype, case):
    """Backpropagation through a cut of the sequence into two calls.

    The loss reads the last membrane too.
    """
    if refuses(impl, dtype):
        return
    x, upstream = currents(5, 3, 11, dtype=dtype)
    v0 = currents(3, 11, dtype=registration.working_dtype(dtype), seed=1)[0]
    weight = torch.randn_like(v0)

    def loss(function):
        inputs = [x.clone().requires_grad_(), v0.clone().requires_grad_()]
        spikes, v = function(*inputs)
        return torch.autograd.grad((spikes * upstream).sum() + (v * weight).sum(), inputs)

    def in_parts(x, v0):
        first, v = lif(x[:2], v0, impl=impl, **case)
        second, v = lif(x[2:], v, impl=impl, **case)
        return torch.cat([first, second]), v

    whole, parts = loss(lambda x, v0: lif(x, v0, impl=impl, **case)), loss(in_parts)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts))
    expected = loss(lambda x, v0: lif(x, v0, impl='reference', **case))
    assert [g.dtype for g in whole] == [dtype, v0.dtype]
    for found, exact in zip(whole, expected):
        if found.dtype == torch.bfloat16:
            torch.testing.assert_close(found, exact, rtol=2**-7, atol=1e-3)
        else:
            assert_gradient(found, exact)


def test_state_reference_gradient_of_the_membrane_is_that_of_spikingjelly():
    for case in GRID:
        x, upstream = currents(4, 3, 5, dtype=torch.float64)
        start = currents(3, 5, dtype=torch.float64, seed=1)[0]
        node = twin(**case).double()
        inputs = [x.requires_grad_(), start.requires_grad_()]
        node.v = inputs[1]
        out = (node(x) * upstream).sum() + node.v.sum()
        expected = torch.autograd.grad(out, inputs)
        spikes, v = lif(*inputs, impl='reference', **case)
        found = torch.autograd.grad((spikes * upstream).sum() + v.sum(), inputs)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('impl', IMPLS)
def test_state_unused_results_have_no_gradient(impl):
    x, v0 = currents(3, 7)[0].requires_grad_(), torch.zeros(7, requires_grad=True)
    for pick in (0, 1):
        found = torch.autograd.grad(lif(x, v0, impl=impl)[pick].sum(), (x, v0))
        expected = torch.autograd.grad(lif(x, v0, impl='reference')[pick].sum(), (x, v0))
        torch.testing.assert_close(found, expected)
    assert ternary_lif(x, v0, impl=impl)[1].requires_grad
    with torch.no_grad():
        assert not lif(x, v0, impl=impl)[1].requires_grad


@pytest.mark.parametrize('impl', IMPLS)
def test_state_odd_shapes_and_views(impl):
    for shape in ((4,), (2, 0, 3), (1, 130), (3, 1, 1, 1)):
        x = currents(*shape)[0]
        spikes, v = lif(x, 0.25, impl=impl)
        assert v.shape == x.shape[1:] and torch.equal(
            spikes, lif(x, torch.full(shape[1:], 0.25), impl='reference')[0]
        )
    x, other = currents(3, 4, 5, 6)
    for v0 in (
        other[0].transpose(0, 2).contiguous().transpose(0, 2),
        other[0, :1].expand(4, 5, 6),
        other[0].half(),
    ):
        found, expected = (lif(x, v0, impl=name) for name in (impl, 'reference'))
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert torch.equal(found[1], lif(x, v0.float().contiguous(), impl='reference')[1])


@pytest.mark.parametrize('impl', IMPLS)
def test_state_opcheck_and_compile(impl):
    x, v0 = currents(3, 2, 5)[0].requires_grad_(), torch.randn(2, 5, requires_grad=True)
    rest = 2.0, True, 1.0, 0.0, False, 'sigmoid', 4.0, True, impl
    torch.library.opcheck(torch.ops.mmbsa.lif.default, (x, v0, *rest))
    torch.library.opcheck(
        torch.ops.mmbsa.lif_bwd.default, (x.detach(), v0.detach(), x.detach(), v0.detach(), *rest)
    )

    def both(x, v0):
        spikes, v = lif(x * 2, v0, impl=impl)
        return spikes * x, lif(x, v, impl=impl)[1]

    found = torch.compile(both, backend='aot_eager', fullgraph=True)(x, v0)
    torch.testing.assert_close(found, both(x, v0))
    for a, b in zip(
        *(torch.autograd.grad(sum(y.sum() for y in out), (x, v0)) for out in (found, both(x, v0)))
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    'v0, message',
    [
        (
            torch.zeros(4),
            r'v0 must be floating and have the shape of a step of x, \(3,\), got '
            r'torch.float32 \(4,\)',
        ),
        (torch.zeros(3, dtype=torch.int64), 'v0 must be floating .* got torch.int64'),
        (torch.zeros(3, device='meta'), 'v0 is on meta, x on cpu'),
        (float('nan'), 'v0 must be finite, got nan'),
    ],
)
def test_state_errors(v0, message):
    with pytest.raises(ValueError, match=message):
        lif(torch.zeros(2, 3), v0)
