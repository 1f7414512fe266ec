"""A tensor of the integer graph, with bounds, and with a sum and a shift not yet in the graph."""

import math

import numpy as np

from mmbsa.deploy.integer.nodes import const, highest, int_type, lowest


class Value:
    """A tensor of the graph: ``((raw + pre) >> places) + post``.

    Args:
        graph: graph of the tensor.
        name, dtype, shape: name, type and shape of the tensor ``raw``.
        low, high: bounds of ``raw``.
        pre, places, post: pending constants that broadcast against ``raw``; 0 by default.
    """

    __array_ufunc__ = None  # numpy's operators leave the work to this class

    def __init__(self, graph, name, dtype, shape, low, high, pre=0, places=0, post=0):
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)
        self.shape, self.raw_low, self.raw_high = tuple(shape), int(low), int(high)
        self.pre, self.places, self.post = const(pre), const(places), const(post)
        self.low = lowest(((self.raw_low + self.pre) >> self.places) + self.post)
        self.high = highest(((self.raw_high + self.pre) >> self.places) + self.post)
        self._settled: Value | None = None
        #: the same map (..., H, W, C), where there is one.
        self.last: Value | None = None
        #: (symbol, low, high) that this one is the clipped value of.
        self.clipped: tuple | None = None

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))

    def narrow(self, bits: int) -> None:
        """Narrow the bounds to ``bits`` bits; the reference raises for other values."""
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if self.low < low or self.high > high:
            self.graph.checks.append((self, bits))
        self.low, self.high = max(self.low, low), min(self.high, high)

    def _like(self, name, dtype, shape=None, low=None, high=None, **pending) -> 'Value':
        """Return another tensor of this graph, by default with the same bounds and shape."""
        return type(self)(
            self.graph,
            name,
            dtype,
            self.shape if shape is None else shape,
            self.low if low is None else low,
            self.high if high is None else high,
            **pending,
        )

    def cast(self, dtype) -> str:
        """Return the name of the raw tensor in another type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self.name
        to = self.graph._helper.np_dtype_to_tensor_dtype(dtype)
        return self.graph.add('Cast', [self.name], to=to)

    def shifted(self) -> 'Value':
        """Return the same value with no pending constant but ``post``."""
        if not self.places.any():
            if not self.pre.any():
                return self
            post = self.pre + self.post
            return self._bounded(
                type(self)(
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
        # BitShift has no sign: a multiple of 2^places is added before it and subtracted after it
        lift = np.where(low < 0, -(low >> self.places), 0)
        offset = self.pre + (lift << self.places)
        dtype = int_type(
            min(self.raw_low, lowest(offset)),
            max(highest(high + (lift << self.places)), highest(offset)),
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
        bounds = lowest(result[0]), highest(result[1])
        dtype = int_type(*bounds)
        name = self.graph.add('Cast', [name], to=to(dtype))
        return self._bounded(self._like(name, dtype, None, *bounds, post=self.post - lift))

    def _bounded(self, other: 'Value') -> 'Value':
        """Return ``other`` with the narrower bounds of both."""
        other.low, other.high = max(self.low, other.low), min(self.high, other.high)
        return other

    def settle(self) -> 'Value':
        """Return the same value without pending constants, as int32, int64 or in 8 bits."""
        if self._settled is None:
            part = self.shifted()
            if part.post.any():
                dtype = int_type(
                    min(part.raw_low, part.low), max(part.raw_high, part.high, highest(part.post))
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
        """Return the name of the settled value in int32, int64, or the given type."""
        part = self.settle()
        return part.cast(dtype or int_type(part.low, part.high))

    def narrowest(self) -> tuple[str, str]:
        """Return the names of an 8-bit tensor and of its zero point, which represent this value.

        Raises:
            ValueError: the value does not fit 8 bits.
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
