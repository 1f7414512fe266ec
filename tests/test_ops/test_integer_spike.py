"""Integer spikes.

the reference against the equation, every implementation against the reference, bit for bit.
"""

import itertools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbsa.ops import dispatch, implementations, integer_spike
from mmbsa.ops.bytes import to_bytes
from mmbsa.ops.integer_spike import spikes_and_counts

IMPLS = implementations('integer_spike')
RULES = [
    dict(zip(('signed', 'norm', 'half_up', 'inclusive'), rule))
    for rule in itertools.product((False, True), (1.0, 3.0, 4.0), (False, True), (False, True))
]


def spikes_and_gradient(u, upstream, **kwargs):
    u = u.detach().requires_grad_()
    out = integer_spike(u, 4, **kwargs)
    return out.detach(), torch.autograd.grad(out, u, upstream)[0]


def potentials(dtype=torch.float32):
    """Halves, wholes, both ends, their neighbours, infinities, and numbers of no distinction."""
    grid = torch.arange(-6.0, 6.25, 0.25)
    around = torch.cat(
        [torch.nextafter(grid, torch.tensor(9.0)), torch.nextafter(grid, torch.tensor(-9.0))]
    )
    odd = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 4
    return torch.cat([grid, around, odd, torch.tensor([torch.inf, -torch.inf, -0.0])]).to(dtype)


@pytest.mark.parametrize('rule', RULES, ids=str)
def test_the_equation(rule):
    u = potentials()
    spikes, grad = spikes_and_gradient(u, torch.ones_like(u), impl='reference', **rule)
    low = -4.0 if rule['signed'] else 0.0
    for value, spike, slope in zip(u.tolist()[:147], spikes.tolist(), grad.tolist()):
        count = min(max(value, low), 4.0)
        # Python rounds half to even; where half goes up the addition is one of float32
        whole = torch.tensor(count).add(0.5).floor().item() if rule['half_up'] else round(count)
        assert spike == torch.tensor(float(whole)).div(rule['norm']).item()
        inside = low <= value <= 4 if rule['inclusive'] else low < value < 4
        assert slope == (torch.tensor(1.0).div(rule['norm']).item() if inside else 0.0)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize('rule', RULES, ids=str)
def test_all_give_the_same_bits(impl, dtype, rule):
    u = potentials(dtype)
    if dispatch.get('integer_spike', impl).refuses(u):
        with pytest.raises(
            RuntimeError, match=f"impl='{impl}' does not support this call: .*{dtype}"
        ):
            integer_spike(u, 4, impl=impl)
        return
    upstream = torch.randn(u.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = spikes_and_gradient(u, upstream, impl=impl, **rule)
    expected = spikes_and_gradient(u, upstream, impl='reference', **rule)
    assert found[0].dtype == found[1].dtype == dtype
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize('impl', IMPLS)
def test_ends_that_16_bits_cannot_hold_are_rounded_as_membranes_are(impl):
    u = torch.arange(296.0, 312.0).bfloat16().requires_grad_()
    expected = integer_spike(u, 303, norm=1.0, impl='reference')
    out = integer_spike(u, 303, norm=1.0, impl=impl)
    assert torch.equal(out, expected)
    found, expected = (torch.autograd.grad(x.sum(), u)[0] for x in (out, expected))
    assert torch.equal(found, expected) and set(expected.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize('impl', IMPLS)
def test_not_a_number_stays_one(impl):
    assert integer_spike(torch.tensor([torch.nan, 1.0]), 4, impl=impl).isnan().tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize('impl', IMPLS)
def test_integer_spike_keeps_layouts(impl):
    base = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    last = base.contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(base.shape, generator=torch.Generator().manual_seed(1))
    expected = spikes_and_gradient(base, upstream, impl='reference')
    turned = upstream.transpose(2, 3).contiguous().transpose(2, 3)
    for u, grad in itertools.product((base, last, last.unflatten(0, (1, 2))), (upstream, turned)):
        found = spikes_and_gradient(u, grad.reshape(u.shape), impl=impl)
        assert found[0].stride() == found[1].stride() == u.stride()
        torch.testing.assert_close(
            [x.reshape(base.shape) for x in found], list(expected), rtol=0, atol=0
        )
    alone = (
        last[:1].permute(0, 2, 3, 1).contiguous()[None].permute(0, 1, 4, 2, 3)
    )  # whose first strides mean nothing
    for u in (alone, alone.as_strided(alone.shape, (1, 1, *alone.stride()[2:]))):
        found = spikes_and_gradient(u, upstream[:1][None], impl=impl)
        assert all(x[0].is_contiguous(memory_format=torch.channels_last) for x in found)
    for view in (
        base[..., ::2],
        base[:, :1].expand(2, 4, 5, 7),
        base[:, :0],
        base.transpose(1, 3)[1:],
        base[:1].expand(3, 6, 5, 7),
    ):
        found = spikes_and_gradient(view, torch.ones(view.shape), impl=impl)
        expected = spikes_and_gradient(view.contiguous(), torch.ones(view.shape), impl='reference')
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize('impl', IMPLS)
def test_integer_spike_passes_opcheck(impl):
    u = torch.randn(3, 4, 5).requires_grad_()
    rest = 0.0, 4.0, 4.0, False, True, impl
    for keep in (1, 2):
        torch.library.opcheck(torch.ops.mmbsa.integer_spike.default, (u, *rest, keep))
    torch.library.opcheck(torch.ops.mmbsa.integer_spike.default, (u.detach(), *rest, 0))
    torch.library.opcheck(
        torch.ops.mmbsa.integer_spike_bwd.default,
        (u.detach(), torch.ones_like(u, dtype=torch.uint8), 4.0, impl),
    )
    with FakeTensorMode() as mode:
        last = torch.zeros(3, 2, 4, 5, 6).permute(0, 1, 4, 2, 3)
        assert (
            torch.ops.mmbsa.integer_spike(mode.from_tensor(last), *rest)[0].stride()
            == last.stride()
        )


def test_one_byte_is_kept_for_the_backward():
    u = torch.randn(100).requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        integer_spike(u, 4)
    assert [(t.dtype, t.numel()) for t in saved] == [(torch.uint8, 100)]


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('rule', RULES, ids=str)
def test_counts_come_with_the_spikes(impl, dtype, rule, monkeypatch):
    monkeypatch.setenv(dispatch.ENV, impl)
    rule = dict(rule)
    base = potentials(dtype)[:150].view(1, 5, 6, 5)
    for u in (base, base.permute(0, 1, 3, 2), base[..., ::2], base[:, :1].expand(2, 3, 6, 5)):
        u = u.detach().requires_grad_()
        spikes, counts = spikes_and_counts(u, 4, **rule)
        assert torch.equal(spikes, integer_spike(u, 4, impl='reference', **rule))
        assert counts.dtype == torch.int8 and counts.stride() == spikes.stride()
        assert torch.equal(counts, to_bytes(spikes.detach(), 1 / rule['norm']))
        first, second = (
            torch.autograd.grad(x.sum(), u)[0] for x in (spikes, integer_spike(u, 4, **rule))
        )
        assert torch.equal(first, second)
    with torch.no_grad():  # nothing is kept
        options = -4.0 if rule['signed'] else 0.0, 4.0, rule['norm'], rule['half_up']
        op = torch.ops.mmbsa.integer_spike
        spikes, *rest = op(base, *options, rule['inclusive'], impl, 0)
        assert torch.equal(spikes, integer_spike(base, 4, **rule))
        assert [(x.dtype, x.numel()) for x in rest] == [(torch.uint8, 0), (torch.int8, 0)]


def test_integer_spike_refuses_bad_arguments():
    with pytest.raises(ValueError, match='u must be floating and have a dim.*, got torch.int64'):
        integer_spike(torch.ones(2, dtype=torch.int64), 4)
    with pytest.raises(
        ValueError, match='levels must be at least 1 and norm positive, got 0 and 1'
    ):
        integer_spike(torch.ones(2), 0)
    with pytest.raises(
        ValueError, match='levels must be at least 1 and norm positive, got 4 and 0'
    ):
        integer_spike(torch.ones(2), 4, norm=0)
