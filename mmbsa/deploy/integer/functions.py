"""The functions of numpy for symbols of the integer graph."""

from collections.abc import Sequence

import numpy as np

from mmbsa.deploy.integer.nodes import int_type
from mmbsa.deploy.integer.symbol import Symbol, implements, pointwise


@implements(np.expand_dims)
def _expand_dims(x: Symbol, axis: int) -> Symbol:
    axis %= x.ndim + 1
    return x.reshape((*x.shape[:axis], 1, *x.shape[axis:]))


@implements(np.transpose)
def _transpose(x: Symbol, axes) -> Symbol:
    axes = [a % x.ndim for a in axes]
    kept = 0
    while kept < x.ndim and axes[-1 - kept] == x.ndim - 1 - kept:
        kept += 1
    return x._moved(tuple(x.shape[a] for a in axes), 'Transpose', kept=kept, perm=axes)


@implements(np.swapaxes)
def _swapaxes(x: Symbol, a: int, b: int) -> Symbol:
    axes = list(range(x.ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return _transpose(x, axes)


@implements(np.moveaxis)
def _moveaxis(x: Symbol, source: int, target: int) -> Symbol:
    axes = [a for a in range(x.ndim) if a != source % x.ndim]
    axes.insert(target % x.ndim, source % x.ndim)
    return x if axes == sorted(axes) else _transpose(x, axes)


@implements(np.take)
def _take(x: Symbol, indices, axis: int) -> Symbol:
    axis %= x.ndim
    indices = np.asarray(indices, np.int64)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    places = x.graph.constant(indices, np.int64)
    out = x._moved(shape, 'Gather', places, kept=x.ndim - axis - 1, axis=axis)
    if x.last is not None and (axis < x.ndim - 3 or indices.ndim == 1):
        place = {x.ndim - 3: x.ndim - 1, x.ndim - 2: x.ndim - 3, x.ndim - 1: x.ndim - 2}
        out.last = _take(x.last, indices, place.get(axis, axis))
    return out


@implements(np.broadcast_to)
def _broadcast_to(x: Symbol, shape) -> Symbol:
    shape = tuple(int(n) for n in shape)
    if shape == x.shape:
        return x
    return x.settle()._moved(shape, 'Expand', x.graph.constant(shape, np.int64))


def _together(parts: Sequence[Symbol]) -> tuple[list[str], Symbol, dict]:
    """Return names of tensors of one type, the first part, and the pending constants."""
    parts = [part.shifted() for part in parts]
    first = parts[0]
    same = all(
        part.dtype == first.dtype and not part.post.ndim and part.post == first.post
        for part in parts
    )
    if same:
        raw = min(p.raw_low for p in parts), max(p.raw_high for p in parts)
        return [p.name for p in parts], first, dict(bounds=raw, dtype=first.dtype, post=first.post)
    bounds = min(p.low for p in parts), max(p.high for p in parts)
    dtype = int_type(*bounds)
    return [p.wide(dtype) for p in parts], first, dict(bounds=bounds, dtype=dtype, post=0)


@implements(np.concatenate)
def _concatenate(parts: Sequence[Symbol], axis: int = 0) -> Symbol:
    if len(parts) == 1:
        return parts[0]
    names, first, found = _together(parts)
    axis %= first.ndim
    length = sum(part.shape[axis] for part in parts)
    name = first.graph.add('Concat', names, axis=axis)
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
    out = first._like(name, found['dtype'], shape, *found['bounds'], post=found['post'])
    out.low = max(out.low, min(part.low for part in parts))
    out.high = min(out.high, max(part.high for part in parts))
    if axis < first.ndim - 3 and all(part.last is not None for part in parts):
        out.last = _concatenate([part.last for part in parts], axis)
    return out


@implements(np.stack)
def _stack(parts: Sequence[Symbol], axis: int = 0) -> Symbol:
    return _concatenate([_expand_dims(part, axis) for part in parts], axis)


@implements(np.clip)
@pointwise
def _clip(x: Symbol, low: int, high: int) -> Symbol:
    part = x.settle()
    dtype = int_type(min(part.low, low), max(part.high, high))
    bounds = [x.graph.constant(v, dtype) for v in (low, high)]
    name = x.graph.add('Clip', [part.cast(dtype), *bounds])
    out = x._like(name, dtype, None, max(low, min(high, x.low)), min(high, max(low, x.high)))
    out.clipped = x, low, high
    return out


@implements(np.where)
@pointwise
def _where(condition: Symbol, a, b) -> Symbol:
    parts = [p if isinstance(p, Symbol) else condition._constant(p) for p in (a, b)]
    low, high = min(p.low for p in parts), max(p.high for p in parts)
    shape = np.broadcast_shapes(condition.shape, *(p.shape for p in parts))
    base = min(low, 0)
    if high - base <= 255 and all(
        not isinstance(p, Symbol) or p.dtype == np.uint8 and not p.post.ndim and p.post == base
        for p in (a, b)
    ):  # spikes: 8 bits and a zero point
        names = [
            p.name if isinstance(p, Symbol) else condition.graph.constant(p - base, np.uint8)
            for p in (a, b)
        ]
        name = condition.graph.add('Where', [condition.name, *names])
        return condition._like(name, np.uint8, shape, low - base, high - base, post=base)
    dtype = int_type(low, high)
    name = condition.graph.add('Where', [condition.name, *(p.wide(dtype) for p in parts)])
    return condition._like(name, dtype, shape, low, high)


@implements(np.full_like)
def _full_like(x: Symbol, value: int) -> np.ndarray:
    return np.full((1,) * x.ndim, value, np.int64)
