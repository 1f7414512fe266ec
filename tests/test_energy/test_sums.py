"""Exact sums: borders, strides, dilation, groups, units, layouts, against loops over integers."""

import pytest
import torch
from brute import conv_pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbsa.energy import sums
from mmbsa.energy.tags import Tag
from mmbsa.spiking import BINARY, TERNARY, counts

DOMAINS = {
    'binary': BINARY,
    'ternary': TERNARY,
    'quarters': counts(4, 0.25),
    'thirds': counts(3, 1 / 3),
    'signed': counts(2, 1.0, signed=True),
}


def draw(domain, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(domain.low, domain.high + 1, shape, generator=generator)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', DOMAINS)
def test_total_is_exact_in_every_unit_and_dtype(name, dtype):
    domain = DOMAINS[name]
    k = draw(domain, (7, 5, 6), 0)
    x, tag = (k * domain.unit).to(dtype), Tag(domain)
    assert sums.total(x, tag, 'counts') == int(k.abs().sum())
    assert sums.total(x, tag, 'events') == int((k != 0).sum())
    assert sums.total(x, tag, 'bits') == sum(int(v).bit_count() for v in k.abs().flatten().tolist())


@pytest.mark.parametrize('layout', ['contiguous', 'channels last', 'slice', 'transposed'])
@pytest.mark.parametrize('name', ['binary', 'quarters', 'signed'])
def test_per_position_sums_any_layout(name, layout):
    domain = DOMAINS[name]
    k = draw(domain, (6, 4, 5, 3), 1)
    x = k * domain.unit
    if layout == 'channels last':
        x = x.to(memory_format=torch.channels_last)
    if layout == 'slice':
        x = torch.cat([x, x], 0)[:6]
    if layout == 'transposed':
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    for what, wanted in (('counts', k.abs()), ('events', k.ne(0))):
        places, unit = sums.per_position(x, Tag(domain), what, 2)
        assert torch.equal(places.double() / unit, wanted.sum((0, 1)).double())


@pytest.mark.parametrize('maps', [False, True])
@pytest.mark.parametrize('layout', ['contiguous', 'large', 'channels last', 'slice'])
@pytest.mark.parametrize('name', DOMAINS)
def test_sums_of_new_spikes_are_those_of_all_of_them(name, layout, maps):
    domain = DOMAINS[name]
    k = draw(domain, (3, 2, 4, 40, 50) if layout == 'large' else (3, 2, 4, 5, 6), 2)
    x, tag = (k * domain.unit).float(), Tag(domain)
    if layout == 'channels last':
        x = x.transpose(2, -1).contiguous().transpose(2, -1)
    if layout == 'slice':
        x = torch.cat([x, x])[:3]
    events, amount = int(k.ne(0).sum()), int(k.abs().sum())
    assert sums.fired(x, tag, maps) == sums.both(x, tag) == (events, amount)
    assert (sums.total(x, tag, 'events'), sums.total(x, tag, 'counts')) == (events, amount)
    for what, wanted in (('events', k.ne(0)), ('counts', k.abs())):
        places, unit = sums.per_position(x.flatten(0, 1), tag, what, 2)
        assert torch.equal(places.double() / unit, wanted.sum((0, 1, 2)).double())


def test_total_of_a_part_is_not_that_of_the_whole():
    x, tag = torch.ones(4, 3), Tag(BINARY)
    assert [
        sums.total(x, tag, 'counts'),
        sums.total(x[:1], tag, 'counts'),
        sums.total(x[1:3], tag, 'counts'),
    ] == [12, 3, 6]


def test_total_is_exact_beyond_the_precision_of_float32():
    assert sums.total(torch.ones(2**24 + 3), Tag(BINARY), 'counts') == 2**24 + 3


@pytest.mark.parametrize('shape', [(1, 1 << 17), (1, 1 << 18), (2, 2, 1 << 16)])
def test_sums_of_large_counts_are_exact(shape):
    x, tag = torch.full(shape, 255.0), Tag(counts(255))
    x.view(-1)[::2] = 254  # the sum is odd in places that float32 does not hold
    x.view(-1)[0] = 253
    wanted = int(x.double().sum())
    assert sums.total(x, tag, 'counts') == wanted
    assert sums.pairs(x, Tag(counts(255)), 'counts', ((1,) * (shape[-1] - 1) + (0,),), 1) == (
        wanted - x.double()[..., -1].sum()
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pairs_of_convolutions_equal_brute_force(data):
    pick = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    pair = lambda low, high: (pick(low, high), pick(low, high))  # noqa: E731
    domain = DOMAINS[data.draw(st.sampled_from(sorted(DOMAINS)))]
    groups, transposed = pick(1, 2), data.draw(st.booleans())
    kernel, stride, padding, dilation = pair(1, 3), pair(1, 3), pair(0, 2), pair(1, 2)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    if transposed:
        padding = tuple(min(p, s // 2) for p, s in zip(padding, span))
    size = [max(pick(2, 5), s - 2 * p, 1) for s, p in zip(span, padding)]
    channels, outputs = groups * pick(1, 2), groups * pick(1, 2)
    k = draw(domain, (pick(1, 2), channels, *size), pick(0, 10**6))
    x = (k * domain.unit).float()
    weight = torch.zeros(
        *((channels, outputs // groups) if transposed else (outputs, channels // groups)), *kernel
    )
    convolve = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    out = convolve(x, weight, None, stride, padding, groups=groups, dilation=dilation)
    from mmbsa.energy.rules.convolution import geometry

    hits, fan_out, dense, valid = geometry(
        tuple(x.shape),
        tuple(weight.shape),
        tuple(out.shape),
        stride,
        padding,
        dilation,
        groups,
        transposed,
    )
    wanted = conv_pairs(
        k.tolist(), weight.shape, stride, padding, dilation, groups, transposed, out.shape[2:]
    )
    assert (
        valid,
        *(sums.pairs(x, Tag(domain), what, hits, fan_out) for what in ('events', 'counts')),
    ) == wanted
    assert dense >= valid
