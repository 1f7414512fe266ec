"""Exact sums of spikes: totals, per position, per channel, and the pairs of a convolution."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from mmbsa.energy.tags import Tag

#: elements that are read at once: they stay in a core's cache, and float32 sums of them are exact.
CHUNK = 1 << 18


def total(x: Tensor, tag: Tag, what: str) -> int:
    """Sum over all elements of ``'events'`` (1 where not zero), ``'counts'`` (|k|) or ``'bits'``
    (one-bits of |k|).
    """
    what = _cheapest(tag, what)
    if _whole(x):
        if (what, 'map') in tag.cache and (what, 'total') not in tag.cache:
            tag.cache[what, 'total'] = round(tag.cache[what, 'map'][1].sum().item())
        if (what, 'total') not in tag.cache:
            tag.cache[what, 'total'] = _round(_reduce(_dense(x), tag, what, _sum))
        return tag.cache[what, 'total']
    return _cached(tag, x, (what, 'total'), lambda: _round(_reduce(x, tag, what, _sum)))


def per_position(x: Tensor, tag: Tag, what: str, dims: int) -> Tensor:
    """The same sum, over all but the last ``dims`` dimensions of x, as float64 integers."""
    what = _cheapest(tag, what)
    shape, whole = tuple(x.shape[x.dim() - dims :]), _whole(x)
    known = tag.cache.get((what, 'map'))
    if known is not None and known[0] == shape and whole:
        return known[1]
    if x.dim() > dims + 2:
        x = x.flatten(0, x.dim() - dims - 2)
    last = (
        x.dim() > dims + 1 and x.stride(1) == 1 and x.size(1) > 1
    )  # channels last: sum the inner dimension first

    def reduce(y: Tensor) -> Tensor:
        if last:
            return y.movedim(1, -1).sum(-1).sum(0)
        return y.sum(tuple(range(y.dim() - dims)))

    result = _round(_reduce(x, tag, what, reduce))
    if whole:
        tag.cache[what, 'map'] = (shape, result)
    return result


def per_channel(x: Tensor, tag: Tag, what: str, dim: int) -> Tensor:
    """(*, n, k) -> the same sum over ``dim`` (-2 or -1), as float64 integers."""
    what = _cheapest(tag, what)
    return _cached(
        tag,
        x,
        (what, dim),
        lambda: _round(amounts(x, tag, what).sum(dim).double() / _unit(tag, what)),
    )


def amounts(x: Tensor, tag: Tag, what: str) -> Tensor:
    """What every element stands for, times :func:`_unit`; float32 (float64 for float64 tensors)."""
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    unsigned = tag.domain is not None and not tag.domain.signed
    if what == 'events':  # one pass in place of a comparison and a conversion
        return x.clamp(max=tag.domain.unit) if unsigned and _exact(tag) else x.ne(0).to(x.dtype)
    unit = 1.0 if tag.domain is None else tag.domain.unit
    if what == 'counts':
        x = x if unsigned else x.abs()
        return x if _exact(tag) else (x / unit).round_()
    count = (x / unit).round_().abs_().int()
    ones = torch.zeros_like(x)
    for bit in range(tag.bits or tag.domain.levels.bit_length()):
        ones += (count >> bit) & 1
    return ones


def _exact(tag: Tag) -> bool:
    """Whether sums of spikes are exact before they are divided by the unit: it is a power of
    two.
    """
    return tag.domain is not None and math.frexp(tag.domain.unit)[0] == 0.5


def _unit(tag: Tag, what: str) -> float:
    """What :func:`amounts` are multiples of."""
    if not _exact(tag) or what == 'bits' or what == 'events' and tag.domain.signed:
        return 1.0
    return tag.domain.unit


def _cheapest(tag: Tag, what: str) -> str:
    """Events of unit spikes are their counts, which need one pass less."""
    if what == 'events' and tag.bits is None and tag.domain is not None and tag.domain.levels <= 1:
        return 'counts'
    return what


def _sum(x: Tensor) -> Tensor:
    return x.sum()


def _whole(x: Tensor) -> bool:
    """Whether x shows every element of its storage once, so that all views of that kind have the
    same sums.
    """
    return x.numel() * x.element_size() == x.untyped_storage().nbytes() and 0 not in x.stride()


def _cached(tag: Tag, x: Tensor, key: tuple, compute: Callable):
    key = (*key, x.data_ptr(), tuple(x.shape), x.stride())
    if key not in tag.cache:
        tag.cache[key] = compute()
    return tag.cache[key]


def _dense(x: Tensor) -> Tensor:
    """All elements in the order of memory, where x has no gaps: the fastest way through them."""
    if _whole(x):
        return x.as_strided((x.numel(),), (1,), 0)
    return x


def _reduce(x: Tensor, tag: Tag, what: str, reduce: Callable) -> Tensor:
    """``reduce`` of the amounts of chunks of the first dimension, added up in float64."""
    if not x.numel():
        return reduce(x.double())
    rows = max(1, CHUNK * len(x) // x.numel())
    if rows >= len(x):
        return reduce(amounts(x, tag, what)).double() / _unit(tag, what)
    return sum(reduce(amounts(part, tag, what)).double() for part in x.split(rows)) / _unit(
        tag, what
    )


def _round(x: Tensor):
    x = x.round()
    return int(x.item()) if x.dim() == 0 else x


@lru_cache(4096)
def taps(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> tuple[int, ...]:
    """How many pairs of an output and a tap hit each input position, along one dimension.

    A convolution's output o sees position ``o * stride - padding + tap * dilation``. A transposed
    one sends position i to output ``i * stride - padding + tap * dilation``.
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
    """Sum over pairs of an input element and a tap on the map: ``fan_out`` times f_1^T P f_2
    (energy.md 4.3).
    """
    uniform, weights = _hit_map(hits)
    if weights is None:
        return total(x, tag, what) * uniform * fan_out
    places = per_position(x, tag, what, len(hits))
    return int((places * weights.to(places.device)).sum().item()) * fan_out


@lru_cache(512)
def _hit_map(hits: tuple[tuple[int, ...], ...]) -> tuple[int, Tensor | None]:
    """Taps per position where all have as many; else 0 and the map of them."""
    if all(len(set(side)) <= 1 for side in hits):
        return math.prod(side[0] if side else 0 for side in hits), None
    weights = torch.ones((), dtype=torch.float64)
    for side in hits:
        weights = weights.unsqueeze(-1) * torch.tensor(side, dtype=torch.float64)
    return 0, weights
