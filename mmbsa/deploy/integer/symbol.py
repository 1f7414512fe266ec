"""Arrays that write an ONNX graph instead of computing: the reference's own code, run on them,
gives the integer graph.

A :class:`Symbol` has the operators and the numpy functions that the integer network uses. It knows
the least and the largest value that it can hold, and the types of the graph follow from them: 8
bits in front of products, 32 or 64 bits elsewhere. Additions of constants and shifts are kept back
until somebody needs the value: a comparison takes them into its constant.

Maps (..., C, H, W) that come from convolutions are also there as (..., H, W, C), the layout in
which convolutions are products of matrices. What is written in both and used in one only is
not part of the graph.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

_FUNCTIONS: dict[Callable, Callable] = {}


def pointwise(method: Callable) -> Callable:
    """Write an operation on every element also in the channels-last layout, where all operands are
    there in it."""

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
    """An operand of an operation on maps (..., C, H, W), as (..., H, W, C)."""
    if isinstance(x, Symbol):
        return x.last
    if not isinstance(x, np.ndarray) or not x.ndim:
        return x
    return np.moveaxis(x.reshape((1,) * (ndim - x.ndim) + x.shape), -3, -1)


def implements(function: Callable):
    """Register what a numpy function does with symbols."""

    def decorate(own: Callable) -> Callable:
        _FUNCTIONS[function] = own
        return own

    return decorate


class Graph:
    """Nodes and constants of an ONNX graph in the order in which they were written."""

    def __init__(self):
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes, self.constants = [], {}
        self._named: dict[tuple, str] = {}
        #: values that the reference checks, and the bits that they must fit.
        self.checks: list[tuple[Symbol, int]] = []

    def constant(self, value, dtype) -> str:
        """Name of a constant; equal ones are stored once."""
        value = np.asarray(value)
        array = np.ascontiguousarray(value.astype(dtype)).reshape(value.shape)
        assert (array == value).all(), 'a constant does not fit its type'
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._named:
            name = self._named[key] = f'c{len(self.constants)}'
            self.constants[name] = self._numpy_helper.from_array(array, name)
        return self._named[key]

    def add(self, op: str, inputs: Sequence[str], **attributes) -> str:
        """Write a node; name of its output."""
        name = f'{op.lower()}_{len(self.nodes)}'
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], name, **attributes))
        return name


def int_type(low: int, high: int) -> np.dtype:
    """The type of sums and shifts between these bounds.

    Raises:
        OverflowError: no type of 64 bits holds them.
    """
    for dtype in (np.int32, np.int64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise OverflowError(f'integer graph: values {low} .. {high} do not fit 64 bits')


def _low(constant) -> int:
    return int(np.min(constant))


def _high(constant) -> int:
    return int(np.max(constant))


def _const(value) -> np.ndarray:
    """An int64 array without leading axes of length 1."""
    value = np.asarray(value, np.int64)
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    return np.asarray(value)


class Symbol:
    """A tensor of the graph: ``((raw + pre) >> places) + post``.

    Args:
        graph: it belongs to.
        name, dtype, shape: of the tensor ``raw``.
        low, high: bounds of ``raw``.
        pre, places, post: constants that broadcast against ``raw``.
    """

    __array_ufunc__ = None  # numpy's operators leave the work to this class

    def __init__(self, graph, name, dtype, shape, low, high, pre=0, places=0, post=0):
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)
        self.shape, self.raw_low, self.raw_high = tuple(shape), int(low), int(high)
        self.pre, self.places, self.post = _const(pre), _const(places), _const(post)
        self.low = _low(((self.raw_low + self.pre) >> self.places) + self.post)
        self.high = _high(((self.raw_high + self.pre) >> self.places) + self.post)
        self._settled: Symbol | None = None
        #: the same map (..., H, W, C), where there is one.
        self.last: Symbol | None = None
        #: (symbol, low, high) that this one is the clipped value of.
        self.clipped: tuple | None = None

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))

    def __array_function__(self, function, types, args, kwargs):
        if function not in _FUNCTIONS:
            raise ValueError(f'integer graph: numpy.{function.__name__} has no form in it')
        return _FUNCTIONS[function](*args, **kwargs)

    def narrow(self, bits: int) -> None:
        """Take in that the reference raises where a value does not fit so many bits."""
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if self.low < low or self.high > high:
            self.graph.checks.append((self, bits))
        self.low, self.high = max(self.low, low), min(self.high, high)

    def _like(self, name, dtype, shape=None, low=None, high=None, **pending) -> 'Symbol':
        """Another tensor of this graph; bounds and shape are this one's unless given."""
        return Symbol(
            self.graph,
            name,
            dtype,
            self.shape if shape is None else shape,
            self.low if low is None else low,
            self.high if high is None else high,
            **pending,
        )

    # what is kept back
    # --------------------------------------------------------------------------------------------
    def cast(self, dtype) -> str:
        """Name of the raw tensor in another type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self.name
        to = self.graph._helper.np_dtype_to_tensor_dtype(dtype)
        return self.graph.add('Cast', [self.name], to=to)

    def shifted(self) -> 'Symbol':
        """The same value with nothing kept back but ``post``."""
        if not self.places.any():
            if not self.pre.any():
                return self
            post = self.pre + self.post
            return self._bounded(
                Symbol(
                    self.graph,
                    self.name,
                    self.dtype,
                    self.shape,
                    self.raw_low,
                    self.raw_high,
                    post=post,
                )
            )
        low, high = self.raw_low + self.pre, self.raw_high + self.pre
        # BitShift knows no sign: a multiple of 2^places lifts values above zero and comes off again
        lift = np.where(low < 0, -(low >> self.places), 0)
        offset = self.pre + (lift << self.places)
        dtype = int_type(
            min(self.raw_low, _low(offset)), max(_high(high + (lift << self.places)), _high(offset))
        )
        name = self.cast(dtype)
        if offset.any():
            name = self.graph.add('Add', [name, self.graph.constant(offset, dtype)])
        unsigned = np.uint32 if dtype == np.int32 else np.uint64
        to = self.graph._helper.np_dtype_to_tensor_dtype
        name = self.graph.add('Cast', [name], to=to(np.dtype(unsigned)))
        places = self.graph.constant(self.places, unsigned)
        name = self.graph.add('BitShift', [name, places], direction='RIGHT')
        result = (low >> self.places) + lift, (high >> self.places) + lift
        bounds = _low(result[0]), _high(result[1])
        dtype = int_type(*bounds)
        name = self.graph.add('Cast', [name], to=to(dtype))
        return self._bounded(self._like(name, dtype, None, *bounds, post=self.post - lift))

    def _bounded(self, other: 'Symbol') -> 'Symbol':
        """``other`` with the narrower bounds of both."""
        other.low, other.high = max(self.low, other.low), min(self.high, other.high)
        return other

    def settle(self) -> 'Symbol':
        """The same value with nothing kept back, as int32, int64 or in 8 bits."""
        if self._settled is None:
            part = self.shifted()
            if part.post.any():
                dtype = int_type(
                    min(part.raw_low, part.low), max(part.raw_high, part.high, _high(part.post))
                )
                name = self.graph.add(
                    'Add', [part.cast(dtype), self.graph.constant(part.post, dtype)]
                )
                part = self._like(name, dtype)
            else:
                part = self._like(part.name, part.dtype)
            self._settled = part
            part._settled = part
        return self._settled

    def wide(self, dtype=None) -> str:
        """Name of the settled value in int32, int64, or the type given."""
        part = self.settle()
        return part.cast(dtype or int_type(part.low, part.high))

    def narrowest(self) -> tuple[str, str]:
        """Names of an 8-bit tensor and of its zero point, which together are this value.

        Raises:
            ValueError: it does not fit 8 bits.
        """
        part = self.shifted()
        if part.dtype == np.uint8 and not part.post.ndim and -255 <= part.post <= 0:
            return part.name, self.graph.constant(-part.post, np.uint8)
        part = self.settle()
        for dtype in (np.uint8, np.int8):
            if np.iinfo(dtype).min <= part.low and part.high <= np.iinfo(dtype).max:
                return part.cast(dtype), self.graph.constant(0, dtype)
        raise ValueError(
            f'integer graph: {self.name} with values {self.low} .. {self.high} does not fit 8 bits'
        )

    # arithmetic
    # --------------------------------------------------------------------------------------------
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
                out.pre, out.post = out.pre + out.post, _const(0)
            out.low = max(out.low, self.low + _low(other))
            out.high = min(out.high, self.high + _high(other))
            return out
        return self._joined(other, 'Add')

    __radd__ = __add__

    @pointwise
    def _joined(self, other: 'Symbol', op: str) -> 'Symbol':
        """Sum or difference of two tensors; what is added to them afterwards stays kept back."""
        a, b = self.shifted(), other.shifted()
        sign = 1 if op == 'Add' else -1
        ends = [(p.low - _high(p.post), p.high - _low(p.post)) for p in (a, b)]
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
        dtype = int_type(_low(value), _high(value))
        name = self.graph.constant(value, dtype)
        return self._like(name, dtype, value.shape, _low(value), _high(value))

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
        places = np.minimum(_const(places), 62)
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
        out.low = max(out.low, _low(base.low >> places))
        out.high = min(out.high, _high(base.high >> places))
        return out

    @pointwise
    def _compare(self, constant, op: str) -> 'Symbol':
        """``value >= constant``, with what is kept back in the constant; Equal is of the value."""
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
            dtype = int_type(min(part.raw_low, _low(bound)), max(part.raw_high, _high(bound)))
        name = self.graph.add(op, [part.cast(dtype), self.graph.constant(_const(bound), dtype)])
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
        """Itself: the bounds decide the type."""
        return self

    def sum(self, axis=None, keepdims: bool = False) -> 'Symbol':
        """Sum over axes."""
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
        """Largest value along an axis."""
        part = self.settle()
        axes = (axis % self.ndim,)
        name = self.graph.add(
            'ReduceMax',
            [part.wide(), self.graph.constant(axes, np.int64)],
            keepdims=int(keepdims),
        )
        dtype = int_type(part.low, part.high)
        return self._like(name, dtype, _reduced(self.shape, axes, keepdims))

    # shapes
    # --------------------------------------------------------------------------------------------
    def _moved(self, shape, op: str, *inputs, kept: int = 0, **attributes) -> 'Symbol':
        """An operation on places, of which the last ``kept`` axes stay what they are."""
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
        """As numpy's."""
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
        """As numpy's."""
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


# numpy's functions
# ------------------------------------------------------------------------------------------------
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
    """Names of tensors of one type, the first part with the bounds of all, and what is kept
    back."""
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
