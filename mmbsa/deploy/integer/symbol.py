"""Symbols: arrays that add nodes to an ONNX graph in place of computing.

The code of the reference runs on symbols; this gives the integer graph. A :class:`Symbol` has the
operators and the numpy functions that the integer network uses. It stores the smallest and the
largest value that it can have, and these bounds define the types of the graph: 8 bits before
products, 32 or 64 bits elsewhere. Constants that are added and shifts are added to the graph only
when the value is used; a comparison moves them into its constant.

Maps (..., C, H, W) from convolutions also exist as (..., H, W, C), the layout in which convolutions
are matrix products. A layout that is not used is not part of the graph.
"""

import math
from collections.abc import Callable

import numpy as np

from mmbsa.deploy.integer.nodes import const, highest, int_type, lowest
from mmbsa.deploy.integer.value import Value

_FUNCTIONS: dict[Callable, Callable] = {}


def pointwise(method: Callable) -> Callable:
    """Write an element-wise operation also in the channels-last layout (decorator).

    This requires that all operands exist in that layout.
    """

    def both(*operands):
        out = method(*operands)
        symbols = [x for x in operands if isinstance(x, Symbol)]
        if (
            isinstance(out, Symbol)
            and out.last is None
            and all(x.last is not None and x.shape == out.shape for x in symbols)
        ):
            last = [_channels_last(x, out.ndim) for x in operands]
            out.last = out._bounded(method(*last))
        return out

    return both


def _channels_last(x, ndim: int):
    """Return an operand of an operation on maps (..., C, H, W), as (..., H, W, C)."""
    if isinstance(x, Symbol):
        return x.last
    if not isinstance(x, np.ndarray) or not x.ndim:
        return x
    return np.moveaxis(x.reshape((1,) * (ndim - x.ndim) + x.shape), -3, -1)


def implements(function: Callable):
    """Return a decorator that registers the implementation of a numpy function for symbols."""

    def decorate(own: Callable) -> Callable:
        _FUNCTIONS[function] = own
        return own

    return decorate


class Symbol(Value):
    """A :class:`Value` with the operators and the methods of numpy's arrays."""

    def __array_function__(self, function, types, args, kwargs):
        if function not in _FUNCTIONS:
            raise ValueError(f'integer graph: numpy.{function.__name__} is not supported')
        return _FUNCTIONS[function](*args, **kwargs)

    @pointwise
    def __add__(self, other):
        if not isinstance(other, Symbol):
            other = np.asarray(other)
            if not other.any():
                return self
            if np.broadcast_shapes(other.shape, self.shape) != self.shape or other.size > 1 << 16:
                return self + self._constant(other)
            out = Symbol(
                self.graph,
                self.name,
                self.dtype,
                self.shape,
                self.raw_low,
                self.raw_high,
                self.pre,
                self.places,
                self.post + other,
            )
            if not self.places.any():
                out.pre, out.post = out.pre + out.post, const(0)
            out.low = max(out.low, self.low + lowest(other))
            out.high = min(out.high, self.high + highest(other))
            return out
        return self._joined(other, 'Add')

    __radd__ = __add__

    @pointwise
    def _joined(self, other: 'Symbol', op: str) -> 'Symbol':
        """Return the sum or difference of two tensors; constants added after it are pending."""
        a, b = self.shifted(), other.shifted()
        sign = 1 if op == 'Add' else -1
        ends = [(p.low - highest(p.post), p.high - lowest(p.post)) for p in (a, b)]
        ends[1] = sorted(sign * v for v in ends[1])
        low, high = ends[0][0] + ends[1][0], ends[0][1] + ends[1][1]
        dtype = int_type(min(low, a.raw_low, b.raw_low), max(high, a.raw_high, b.raw_high))
        name = self.graph.add(op, [a.cast(dtype), b.cast(dtype)])
        shape = np.broadcast_shapes(a.shape, b.shape)
        out = self._like(name, dtype, shape, low, high, post=a.post + sign * b.post)
        ends = sorted(sign * v for v in (b.low, b.high))
        out.low, out.high = max(out.low, a.low + ends[0]), min(out.high, a.high + ends[1])
        return out

    def __sub__(self, other):
        return self._joined(other, 'Sub') if isinstance(other, Symbol) else self + -other

    def __rsub__(self, other):
        return -self + other

    def __neg__(self):
        return self * -1

    def _constant(self, value) -> 'Symbol':
        value = np.asarray(value, np.int64)
        dtype = int_type(lowest(value), highest(value))
        name = self.graph.constant(value, dtype)
        return self._like(name, dtype, value.shape, lowest(value), highest(value))

    @pointwise
    def __mul__(self, other):
        if not isinstance(other, Symbol):
            if (np.asarray(other) == 1).all():
                return self
            other = self._constant(other)
        a, b = self.settle(), other.settle()
        bounds = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        low, high = min(bounds), max(bounds)
        dtype = int_type(min(low, a.low, b.low), max(high, a.high, b.high))
        name = self.graph.add('Mul', [a.cast(dtype), b.cast(dtype)])
        return self._like(name, dtype, np.broadcast_shapes(a.shape, b.shape), low, high)

    __rmul__ = __mul__

    def __lshift__(self, places):
        return self * (1 << np.asarray(places))

    @pointwise
    def __rshift__(self, places):
        places = np.minimum(const(places), 62)
        if not places.any():
            return self
        base = self if not self.places.any() else self.settle()
        out = Symbol(
            base.graph,
            base.name,
            base.dtype,
            base.shape,
            base.raw_low,
            base.raw_high,
            base.pre + base.post,
            places,
        )
        out.low = max(out.low, lowest(base.low >> places))
        out.high = min(out.high, highest(base.high >> places))
        return out

    @pointwise
    def _compare(self, constant, op: str) -> 'Symbol':
        """Return ``value >= constant`` with the pending constants moved to the constant."""
        if op == 'Equal':
            part = self.settle()
            dtype = int_type(part.low - 1, part.high + 1)
            bound = np.clip(constant, part.low - 1, part.high + 1)
        else:
            part = self
            wanted = np.asarray(constant, np.int64) - self.post
            # beyond what the shifted value can be, the comparison is decided
            least = (self.raw_low + self.pre) >> self.places
            most = ((self.raw_high + self.pre) >> self.places) + 1
            bound = (np.clip(wanted, least, most) << self.places) - self.pre
            dtype = int_type(min(part.raw_low, lowest(bound)), max(part.raw_high, highest(bound)))
        name = self.graph.add(op, [part.cast(dtype), self.graph.constant(const(bound), dtype)])
        return self._like(name, np.bool_, None, 0, 1)

    def __ge__(self, other):
        return self._compare(other, 'GreaterOrEqual')

    def __gt__(self, other):
        return self._compare(np.asarray(other) + 1, 'GreaterOrEqual')

    def __eq__(self, other):
        return self._compare(other, 'Equal')

    def __ne__(self, other):
        return np.where(self == other, 0, 1) >= 1

    __hash__ = None

    def __or__(self, other):
        return self._like(self.graph.add('Or', [self.name, other.name]), np.bool_, None, 0, 1)

    def astype(self, dtype):
        """Return itself: the bounds decide the type."""
        return self

    def sum(self, axis=None, keepdims: bool = False) -> 'Symbol':
        """Return the sum over axes."""
        axes = tuple(a % self.ndim for a in (axis if isinstance(axis, tuple) else (axis,)))
        count = math.prod(self.shape[a] for a in axes)
        low, high = self.low * count, self.high * count
        dtype = int_type(min(low, self.low), max(high, self.high))
        name = self.graph.add(
            'ReduceSum',
            [self.wide(dtype), self.graph.constant(axes, np.int64)],
            keepdims=int(keepdims),
        )
        return self._like(name, dtype, _reduced(self.shape, axes, keepdims), low, high)

    def max(self, axis: int, keepdims: bool = False) -> 'Symbol':
        """Return the largest value along an axis."""
        part = self.settle()
        axes = (axis % self.ndim,)
        name = self.graph.add(
            'ReduceMax',
            [part.wide(), self.graph.constant(axes, np.int64)],
            keepdims=int(keepdims),
        )
        dtype = int_type(part.low, part.high)
        return self._like(name, dtype, _reduced(self.shape, axes, keepdims))

    def _moved(self, shape, op: str, *inputs, kept: int = 0, **attributes) -> 'Symbol':
        """Apply an operation that moves elements and keeps the last ``kept`` axes."""
        part = self
        if max(c.ndim for c in (self.pre, self.places, self.post)) > kept:
            part = self.settle()
        if part._settled is not None:
            part = part._settled
        name = self.graph.add(op, [part.name, *inputs], **attributes)
        out = Symbol(
            self.graph,
            name,
            part.dtype,
            shape,
            part.raw_low,
            part.raw_high,
            part.pre,
            part.places,
            part.post,
        )
        return part._bounded(out)

    def reshape(self, *shape) -> 'Symbol':
        """Reshape as in numpy."""
        shape = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in shape:
            shape[shape.index(-1)] = self.size // -math.prod(shape)
        kept = 0
        while kept < min(self.ndim, len(shape)) and self.shape[-1 - kept] == shape[-1 - kept]:
            kept += 1
        if tuple(shape) == self.shape:
            return self
        wanted = self.graph.constant(shape, np.int64)
        out = self._moved(tuple(shape), 'Reshape', wanted, kept=kept)
        if self.last is not None and kept >= 3:
            out.last = self.last.reshape((*shape[:-3], *self.last.shape[-3:]))
        return out

    def squeeze(self, axis: int) -> 'Symbol':
        """Reshape as in numpy."""
        axis %= self.ndim
        return self.reshape(self.shape[:axis] + self.shape[axis + 1 :])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index) -> 'Symbol':
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in [i for i in index if not isinstance(i, np.ndarray)]:
            at = index.index(Ellipsis)
            fill = (slice(None),) * (self.ndim - len(index) + 1)
            index = index[:at] + fill + index[at + 1 :]
        out, axis = self, 0
        for part in index:
            if isinstance(part, int | np.integer):
                out = np.take(out, int(part), axis)
                continue
            start, stop, step = part.indices(out.shape[axis])
            if (start, stop, step) != (0, out.shape[axis], 1):
                shape = (*out.shape[:axis], len(range(start, stop, step)), *out.shape[axis + 1 :])
                where = [self.graph.constant([v], np.int64) for v in (start, stop, axis, step)]
                out = out._moved(shape, 'Slice', *where, kept=out.ndim - axis - 1)
            axis += 1
        return out


def _reduced(shape, axes, keepdims: bool) -> tuple[int, ...]:
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    return tuple(n for i, n in enumerate(kept) if keepdims or i not in axes)
