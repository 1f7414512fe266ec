"""Exact sums of spikes: totals, per position, per channel, and over the pairs of a convolution."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from mmbsa.energy.tags import Tag

#: number of elements read at once, small enough for the cache of a core.
CHUNK = 1 << 18
#: largest whole number up to which sums in float32 are exact.
EXACT = 1 << 24
#: number of elements from which the memory order matters more than the number of ops.
LARGE = 1 << 15


def both(x: Tensor, tag: Tag) -> tuple[int, int]:
    """Return events and counts of x; for real values, the events twice."""
    whole = _whole(x)
    if whole and ('both', 'total') in tag.cache:
        return tag.cache['both', 'total']
    events = total(x, tag, 'events', whole)
    found = events, total(x, tag, 'counts', whole) if tag.domain is not None else events
    if whole:
        tag.cache['both', 'total'] = found
    return found


def fired(x: Tensor, tag: Tag, maps: bool) -> tuple[int, int]:
    """Return events and counts of a new tensor of spikes, in as few passes as possible.

    Args:
        x: spikes, (*).
        tag: tag of x; it stores the sums.
        maps: whether the sums of every position of the last two dimensions are stored too.
    """
    domain, leading = tag.domain, x.dim() - 2 if maps else x.dim()
    limit = _elements(tag, 'counts')
    rows = limit * math.prod(x.shape[:leading]) // max(x.numel(), 1)
    dense = x.is_contiguous() or x.numel() <= LARGE
    if tag.bits or not rows or not dense or not _exact(tag):
        for what in ('events', 'counts') if maps else ():
            per_position(x, tag, what, 2)
        return both(x, tag)
    assert domain is not None  # as its unit is exact
    whole, shape, found = _whole(x), x.shape[-2:], []
    names = ('counts', 'events') if domain.levels > 1 else ('counts',)
    parts = [x] if x.numel() <= limit else x.flatten(0, leading - 1).split(rows)
    sums: dict[str, Tensor] = {}
    for part in parts:  # compute all sums of a part while it is in the cache
        part = part.float() if part.element_size() < 4 else part
        part = part.abs() if domain.signed else part
        for what in names:
            amount = part if what == 'counts' else part.clamp(max=domain.unit)
            amount = amount.sum(tuple(range(part.dim() - 2))) if maps else amount.sum()
            if len(parts) > 1:
                amount = amount.double() + sums.get(what, 0)
            sums[what] = amount
    for what, amount in sums.items():
        found.append(round((amount.sum() if maps else amount).item() / domain.unit))
        if whole:
            tag.cache[what, 'total'] = found[-1]
            if maps:
                tag.cache[what, 'map'] = (shape, amount, domain.unit)
    result = found[-1], found[0]
    if whole:
        tag.cache['both', 'total'] = result
    return result


def total(x: Tensor, tag: Tag, what: str, whole: bool | None = None) -> int:
    """Return the sum over all elements.

    Args:
        x: a tensor of any shape.
        tag: tag of x; it stores the sum.
        what: summand: ``'events'`` (1 where not zero), ``'counts'`` (|k|) or ``'bits'`` (one-bits
            of
            |k|).
        whole: result of :func:`_whole` for x, if known; None (default) computes it.
    """
    what = _cheapest(tag, what)
    if not (_whole(x) if whole is None else whole):
        return _cached(tag, x, (what, 'total'), lambda: _total(x, tag, what))
    found = tag.cache.get((what, 'total'))
    if found is None:
        known = tag.cache.get((what, 'map'))
        if known is None:
            found = _total(_dense(x), tag, what)
        else:
            found = round(known[1].sum().item() / known[2])
        tag.cache[what, 'total'] = found
    return found


def _total(x: Tensor, tag: Tag, what: str) -> int:
    return round(_reduce(x, tag, what, Tensor.sum).item() / _unit(tag, what))


def per_position(x: Tensor, tag: Tag, what: str, dims: int) -> tuple[Tensor, float]:
    """Return the sum over all but the last ``dims`` dimensions of x, and its unit.

    The sums are exact multiples of the unit. ``what`` is as in :func:`total`.

    Args:
        x: a tensor (*).
        tag: tag of x; it stores the sums.
        what: ``'events'``, ``'counts'`` or ``'bits'``.
        dims: number of last dimensions that are kept.
    """
    what = _cheapest(tag, what)
    whole = _whole(x)
    shape, known = x.shape[x.dim() - dims :], tag.cache.get((what, 'map'))
    if known is not None and whole and known[0] == shape:
        return known[1:]
    unit, last = _unit(tag, what), False
    if x.numel() > LARGE:  # channels last: sum the inner dimension first
        if x.dim() > dims + 2:
            x = x.flatten(0, x.dim() - dims - 2)
        last = x.dim() > dims + 1 and x.stride(1) == 1 and x.size(1) > 1

    def reduce(y: Tensor) -> Tensor:
        if last:
            return y.movedim(1, -1).sum(-1).sum(0)
        return y.sum(tuple(range(y.dim() - dims)))

    result = _reduce(x, tag, what, reduce)
    if whole:
        tag.cache[what, 'map'] = (shape, result, unit)
    return result, unit


def per_channel(x: Tensor, tag: Tag, what: str, dim: int) -> Tensor:
    """Return the sum of (*, n, k) over ``dim`` (-2 or -1), as float64 integers.

    Args:
        x: a tensor (*, n, k).
        tag: tag of x; it stores the sums.
        what: ``'events'``, ``'counts'`` or ``'bits'``.
        dim: the summed dimension, -2 or -1.
    """
    what = _cheapest(tag, what)
    return _cached(
        tag,
        x,
        (what, dim),
        lambda: amounts(x, tag, what).sum(dim, dtype=torch.float64) / _unit(tag, what),
    )


def amounts(x: Tensor, tag: Tag, what: str) -> Tensor:
    """Return the summand of every element times :func:`_unit`, as float32 (float64 for float64).

    Args:
        x: a tensor (*).
        tag: tag of x.
        what: ``'events'``, ``'counts'`` or ``'bits'``.
    """
    if x.dtype is not torch.float32 and x.dtype is not torch.float64:
        x = x.float()
    domain = tag.domain
    unsigned = domain is not None and not domain.signed
    unit = 1.0 if domain is None else domain.unit
    if what == 'events':  # one pass instead of a comparison and a conversion
        return x.clamp(max=unit) if unsigned and _exact(tag) else x.ne(0).to(x.dtype)
    if what == 'counts':
        x = x if unsigned else x.abs()
        return x if _exact(tag) else (x / unit).round_()
    count = (x / unit).round_().abs_().int()
    ones = torch.zeros_like(x)
    levels = 0 if domain is None else domain.levels
    for bit in range(tag.bits or levels.bit_length()):
        ones += (count >> bit) & 1
    return ones


def _exact(tag: Tag) -> bool:
    """Return whether sums of spikes are exact before the division by the unit.

    They are exact if the unit is a power of two.
    """
    return tag.domain is not None and math.frexp(tag.domain.unit)[0] == 0.5


def _unit(tag: Tag, what: str) -> float:
    """Return the unit of which :func:`amounts` are multiples."""
    domain = tag.domain
    if domain is None or not _exact(tag) or what == 'bits' or what == 'events' and domain.signed:
        return 1.0
    return domain.unit


def _cheapest(tag: Tag, what: str) -> str:
    """Replace ``'events'`` by the equal ``'counts'`` for unit spikes, which needs less work."""
    if what == 'events' and tag.bits is None and tag.domain is not None and tag.domain.levels <= 1:
        return 'counts'
    return what


def _whole(x: Tensor) -> bool:
    """Return whether x contains every element of its storage once.

    All such views of one storage have the same sums.
    """
    return x.numel() * x.element_size() == x.untyped_storage().nbytes() and 0 not in x.stride()


def _cached(tag: Tag, x: Tensor, key: tuple, compute: Callable):
    key = (*key, x.data_ptr(), x.shape, x.stride())
    if key not in tag.cache:
        tag.cache[key] = compute()
    return tag.cache[key]


def _dense(x: Tensor) -> Tensor:
    """Return all elements of a whole x in memory order, the fastest order to read."""
    return x if x.is_contiguous() else x.as_strided((x.numel(),), (1,), 0)


def _elements(tag: Tag, what: str) -> int:
    """Return how many elements float32 adds exactly in any order."""
    per = 1 if what == 'events' or tag.domain is None else tag.domain.levels
    return min(CHUNK, max(1, EXACT // max(1, per)))


def _reduce(x: Tensor, tag: Tag, what: str, reduce: Callable) -> Tensor:
    """Apply ``reduce`` to the amounts exactly.

    Parts of the first dimension are reduced in float32, which holds their sums exactly; float64
    adds the parts.
    """
    if not x.numel():
        return reduce(x.double())
    elements = _elements(tag, what)
    if x.numel() <= elements:
        return reduce(amounts(x, tag, what))
    rows = elements * len(x) // x.numel()
    if not rows:  # a part of length 1 is too large
        return reduce(amounts(x, tag, what).double())
    return sum(reduce(amounts(part, tag, what)).double() for part in x.split(rows))


@lru_cache(4096)
def taps(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> tuple[int, ...]:
    """Return how many pairs of an output and a tap use each input position of one dimension.

    Output o of a convolution reads position ``o * stride - padding + tap * dilation``. Position i
    of a transposed convolution writes to output ``i * stride - padding + tap * dilation``.

    Args:
        size, out: number of input and output positions.
        kernel, stride, padding, dilation: parameters of the convolution in this dimension.
        transposed: whether it is a transposed convolution.
    """
    hits = [0] * size
    if transposed:
        for i in range(size):
            hits[i] = sum(0 <= i * stride - padding + tap * dilation < out for tap in range(kernel))
        return tuple(hits)
    for o in range(out):
        for tap in range(kernel):
            place = o * stride - padding + tap * dilation
            if 0 <= place < size:
                hits[place] += 1
    return tuple(hits)


def pairs(x: Tensor, tag: Tag, what: str, hits: tuple[tuple[int, ...], ...], fan_out: int) -> int:
    """Return the sum over pairs of an input element and a tap inside the map.

    It is ``fan_out`` times f_1^T P f_2 (energy.md 4.3).

    Args:
        x: input of the convolution.
        tag: tag of x.
        what: summand, as in :func:`total`.
        hits: taps that use each position, for every dimension, from :func:`taps`.
        fan_out: number of outputs per tap.
    """
    uniform, weights = _hit_map(hits)
    if weights is None:
        if what == 'bits':
            return total(x, tag, what) * uniform * fan_out
        events, counts = both(x, tag)
        return (events if what == 'events' else counts) * uniform * fan_out
    places, unit = per_position(x, tag, what, len(hits))
    if places.device != weights.device:
        weights = weights.to(places.device)
    return round((places * weights).sum().item() / unit) * fan_out  # float64, as the weights are


@lru_cache(512)
def _hit_map(hits: tuple[tuple[int, ...], ...]) -> tuple[int, Tensor | None]:
    """Return the taps per position if equal for all; otherwise 0 and the map of taps."""
    if all(len(set(side)) <= 1 for side in hits):
        return math.prod(side[0] if side else 0 for side in hits), None
    weights = torch.ones((), dtype=torch.float64)
    for side in hits:
        weights = weights.unsqueeze(-1) * torch.tensor(side, dtype=torch.float64)
    return 0, weights
