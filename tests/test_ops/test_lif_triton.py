"""The Triton kernels of LIF against the reference.

See ``test_interpreter.py`` for how they run without a GPU.
"""

import itertools

import pytest
import torch
from test_lif import (
    GRID,
    STATE_CASES,
    SURROGATES,
    assert_gradient,
    currents,
    spikes_and_gradient,
    step_by_step,
)

from mmbsa.ops import lif, triton_support

DEVICE = 'cpu' if triton_support.INTERPRETED else 'cuda'


@pytest.mark.parametrize('case', GRID, ids=str)
def test_triton_lif_equals_the_reference(case):
    for (surrogate, (_, alpha)), shape in zip(
        SURROGATES.items(), ((1, 5), (4, 1, 63), (3, 1030), (7, 2, 500))
    ):
        x, upstream = (x.to(DEVICE) for x in currents(*shape))
        options = dict(case, v_threshold=0.7, surrogate=surrogate, alpha=alpha)
        expected = spikes_and_gradient(
            lambda x: lif(x, impl='reference', **options),
            x,
            upstream,
        )
        found = spikes_and_gradient(
            lambda x: lif(x, impl='triton', **options),
            x,
            upstream,
        )
        assert torch.equal(found[0], expected[0])
        assert_gradient(found[1], expected[1])


@pytest.mark.parametrize(
    'dtype, signed', list(itertools.product((torch.float16, torch.bfloat16), (False, True)))
)
def test_triton_lif_in_half_precision(dtype, signed):
    """The gradient is rounded once.

    its error is at most that of rounding the exact one, plus float32's.
    """
    x, upstream = (x.to(DEVICE) for x in currents(4, 3, 100, dtype=dtype))
    exact = spikes_and_gradient(
        lambda x: lif(x, signed=signed, impl='reference'), x.double(), upstream.double()
    )
    spikes, grad = spikes_and_gradient(lambda x: lif(x, signed=signed, impl='triton'), x, upstream)
    assert spikes.dtype == grad.dtype == dtype and torch.equal(spikes.double(), exact[0])
    torch.testing.assert_close(grad.double(), exact[1], rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_layout_and_refusals():
    x = torch.randn(3, 2, 4, 5, 6, device=DEVICE).permute(0, 1, 4, 2, 3)
    assert lif(x, impl='triton').stride() == x.stride()
    number = torch.ones((), device=DEVICE)  # the gradient of a sum is one number for all
    expected = spikes_and_gradient(lambda x: lif(x, impl='reference'), x, number.expand_as(x))
    torch.testing.assert_close(
        spikes_and_gradient(lambda x: lif(x, impl='triton'), x, number.expand_as(x)), expected
    )
    with pytest.raises(RuntimeError, match='not float64'):
        lif(x.double(), impl='triton')


def test_equal_steps_are_read_from_one_memory():
    x, upstream = (x.to(DEVICE) for x in currents(3, 70))
    x = x[0]
    expected = spikes_and_gradient(lambda x: lif(x.repeat(3, 1), impl='reference'), x, upstream)
    found = spikes_and_gradient(lambda x: lif(x.expand(3, -1), impl='triton'), x, upstream)
    torch.testing.assert_close(found, expected)


def with_state(x, v0, upstream, **kwargs):
    """Spikes, last membrane, and the gradients of x and v0 of a loss that reads both."""
    inputs = [x.clone().requires_grad_(), v0.clone().requires_grad_()]
    spikes, v = lif(*inputs, **kwargs)
    grads = torch.autograd.grad((spikes * upstream).sum() + (v * v0).sum(), inputs)
    return spikes.detach(), v.detach(), *grads


@pytest.mark.parametrize('case', STATE_CASES, ids=str)
def test_triton_lif_returns_its_state(case):
    for dtype in (torch.float32, torch.bfloat16):
        x, upstream = (x.to(DEVICE) for x in currents(3, 2, 520, dtype=dtype))
        v0 = currents(2, 520, seed=1)[0].to(DEVICE)
        found, expected = (
            with_state(x, v0, upstream, impl=impl, **case) for impl in ('triton', 'reference')
        )
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
        assert (
            found[0].dtype == found[2].dtype == dtype
            and found[1].dtype == found[3].dtype == torch.float32
        )
        assert_gradient(found[3], expected[3])
        if dtype == torch.float32:
            assert_gradient(found[2], expected[2])
        else:
            torch.testing.assert_close(found[2], expected[2], rtol=2**-7, atol=1e-3)
        alone = step_by_step(x, v0, impl='triton', **case)
        assert torch.equal(found[0], alone[0]) and torch.equal(found[1], alone[1])
