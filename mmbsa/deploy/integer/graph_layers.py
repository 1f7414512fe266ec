"""Layers with another form in the integer graph than on arrays: products, rounding of integer
neurons, Shiftmax, pooling.
"""

import numpy as np

from mmbsa.deploy.integer import layers
from mmbsa.deploy.integer.symbol import Symbol

#: neurons with at most so many levels are comparisons with thresholds; others shift and round.
_MOST_THRESHOLDS = 16


def _blocks(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return weights (O, C / groups, kh, kw) as matrices (blocks, kh kw C / blocks, O / blocks).

    A block contains as many groups as give it 16 channels, with zeros between them: products of few
    channels are slower than the additional zeros.
    """
    joined = next(
        n
        for n in range(1, groups + 1)
        if groups % n == 0 and n * weight.shape[1] >= 16 or n == groups
    )
    blocks, (kh, kw) = groups // joined, weight.shape[2:]
    weight = weight.reshape(blocks, joined, -1, weight.shape[1], kh, kw)
    dense = np.zeros((blocks, kh, kw, joined, weight.shape[3], joined, weight.shape[2]), np.int64)
    for index in range(joined):
        dense[:, :, :, index, :, index] = weight[:, index].transpose(0, 3, 4, 2, 1)
    return dense.reshape(blocks, -1, joined * weight.shape[2])


@layers.conv2d.register
def _conv2d(x: Symbol, weight: np.ndarray, stride, padding, dilation, groups: int) -> Symbol:
    """Convolve by MatMulInteger of the taps, which runtimes execute faster than ConvInteger."""
    (weight, _), *wider = reversed(_int8_planes(weight))
    if wider:  # the high bits first
        total = _conv2d(x, weight, stride, padding, dilation, groups)
        for plane, _ in wider:
            total = (total << 8) + _conv2d(x, plane, stride, padding, dilation, groups)
        return total
    graph, (kh, kw), n = x.graph, weight.shape[2:], x.shape[0]
    size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, p, d, k, s in zip(x.shape[-2:], padding, dilation, (kh, kw), stride)
    ]
    matrices = _blocks(weight, groups)
    blocks = len(matrices)
    last = x.last if x.last is not None else np.transpose(x, (0, 2, 3, 1))
    name, zero = last.narrowest()
    if blocks > 1:
        shape = graph.constant((*last.shape[:3], blocks, -1), np.int64)
        name = graph.add('Reshape', [name, shape])
        name = graph.add('Transpose', [name], perm=[3, 0, 1, 2, 4])
    rows = 1 if blocks == 1 else 2
    if any(padding):
        rank = rows + 3
        pads = [0] * (2 * rank)
        for axis, p in enumerate(padding):
            pads[rows + axis] = pads[rank + rows + axis] = p
        name = graph.add('Pad', [name, graph.constant(pads, np.int64), zero], mode='constant')
    # columns first, so that the taps of the rows are long pieces of memory
    for axis, count in ((rows + 1, kw), (rows, kh)):
        spacing, step, length = (pair[axis - rows] for pair in (dilation, stride, size))
        if count == step == 1:
            continue
        taps = []
        for start in range(0, count * spacing, spacing):
            where = [start], [start + step * (length - 1) + 1], [axis], [step]
            taps.append(graph.add('Slice', [name, *(graph.constant(v, np.int64) for v in where)]))
        name = taps[0] if len(taps) == 1 else graph.add('Concat', taps, axis=-1)
    if blocks > 1:
        shape = graph.constant((blocks, n * size[0] * size[1], matrices.shape[1]), np.int64)
        name = graph.add('Reshape', [name, shape])
    matrix = graph.constant(matrices if blocks > 1 else matrices[0], np.int8)
    sums = graph.add('MatMulInteger', [name, matrix, zero, graph.constant(0, np.int8)])
    if blocks > 1:
        sums = graph.add('Transpose', [sums], perm=[1, 0, 2])
        shape = graph.constant((n, *size, len(weight)), np.int64)
        sums = graph.add('Reshape', [sums, shape])
    positive, negative = (
        np.maximum(sign * weight.reshape(len(weight), -1), 0).sum(1) for sign in (1, -1)
    )
    # padded taps are zero, so every tap may also be that
    most, least = max(x.high, 0), min(x.low, 0)
    low = int((positive * least - negative * most).min())
    high = int((positive * most - negative * least).max())
    out = Symbol(graph, sums, np.int32, (n, *size, len(weight)), low, high)
    turned = np.transpose(out, (0, 3, 1, 2))
    turned.last = out
    return turned


def _planes(x: Symbol) -> list[tuple[str, str, int]]:
    """Return 8-bit tensors, their zero points and the power of two of each one."""
    try:
        return [(*x.narrowest(), 0)]
    except ValueError:
        pass
    part, graph = x.settle(), x.graph
    size = next(
        n for n in (2, 3, 4) if -(1 << 8 * n - 1) <= part.low and part.high < 1 << 8 * n - 1
    )
    lifted = part + (1 << (8 * size - 1))
    planes = []
    for index in range(size):
        plane = (lifted >> 8 * index).shifted()
        # of what remains above, a cast to 8 bits drops all but the lowest
        bits = plane.settle()
        zero = 128 if index == size - 1 else 0
        planes.append((bits.cast(np.uint8), graph.constant(zero, np.uint8), 8 * index))
    return planes


def _int8_planes(weight: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Weights as a sum of arrays that fit int8, with the power of two that each one counts."""
    planes, places = [], 0
    while weight.min(initial=0) < -128 or weight.max(initial=0) > 127:
        high = (weight + 128) >> 8
        planes.append((weight - (high << 8), places))
        weight, places = high, places + 8
    return [*planes, (weight, places)]


@layers.matmul.register(Symbol)
def _matmul(a: Symbol, b) -> Symbol:
    graph, length = a.graph, a.shape[-1]
    if isinstance(b, np.ndarray):
        shape, low, high = b.shape, int(b.min()), int(b.max())
        zero = graph.constant(0, np.int8)
        right = [(graph.constant(w, np.int8), zero, places) for w, places in _int8_planes(b)]
    else:
        shape, low, high = b.shape, b.low, b.high
        right = _planes(b)
    ends = [length * x * y for x in (a.low, a.high) for y in (low, high)]
    out_shape = (*np.broadcast_shapes(a.shape[:-2], shape[:-2]), a.shape[-2], shape[-1])
    total = None
    for left, left_zero, left_places in _planes(a):
        for name, zero, places in right:
            product = graph.add('MatMulInteger', [left, name, left_zero, zero])
            most = length * 255 * 255 if len(right) > 1 or left_places else 0
            bounds = (-most, most) if most else (min(ends), max(ends))
            part = Symbol(graph, product, np.int32, out_shape, *bounds) << left_places + places
            total = part if total is None else total + part
    total.low, total.high = max(total.low, min(ends)), min(total.high, max(ends))
    return total


@layers.round_half_even.register
def _round_half_even(x: Symbol, fraction: int) -> Symbol:
    if fraction == 0:
        return x
    half = 1 << (fraction - 1)
    if x.clipped is None:
        odd = (x >> fraction) - ((x >> fraction + 1) << 1)
        return (x + (half - 1) + odd) >> fraction
    source, low, high = x.clipped
    low, high = (layers.round_half_even(np.array(v), fraction).item() for v in (low, high))
    if high - low > _MOST_THRESHOLDS:
        odd = (x >> fraction) - ((x >> fraction + 1) << 1)
        return (x + (half - 1) + odd) >> fraction
    # a tie goes to the even neighbour, so the threshold of an odd count lies above it
    thresholds = [(n << fraction) - half + (n & 1) for n in range(low + 1, high + 1)]
    return layers.reached(source, thresholds, low)


@layers.exponent_of_sum.register
def _exponent_of_sum(gap: Symbol) -> Symbol:
    """Return ceil(log2 of the sum) of powers 2^-gap, summed exactly in windows of 64-bit integers.

    The carry of a lower window is added to the next one, and remaining bits are sticky.
    """
    graph, n = gap.graph, gap.shape[-1]
    bits = n.bit_length()
    width = 60 - bits
    windows = gap.high // width + 1
    gap = gap.settle()
    carry, sticky = None, None
    for window in reversed(range(windows)):
        distance = gap + -window * width
        if window:
            inside = distance >= 0
            distance = np.where(inside, distance, 63)
        capped = np.clip(distance, 0, 63).wide(np.int64)
        unsigned = graph.add('Cast', [capped], to=13)  # uint64
        one = graph.constant(1 << (width - 1), np.uint64)
        powers = graph.add('BitShift', [one, unsigned], direction='RIGHT')
        powers = graph.add('Cast', [powers], to=7)  # int64
        total = gap._like(powers, np.int64, None, 0, 1 << (width - 1)).sum(-1, keepdims=True)
        if carry is not None:
            total = total + carry
        if window:
            carry = total >> width
            rest = (total - (carry << width)) != 0
            sticky = rest if sticky is None else sticky | rest
    exponent = None
    for place in range(bits + 1):
        whole = 1 << (width - 1 + place)
        above = total > whole
        if sticky is not None:
            above = above | _and(total == whole, sticky)
        counted = np.where(above, 1, 0)
        exponent = counted if exponent is None else exponent + counted
    return exponent


def _and(a: Symbol, b: Symbol) -> Symbol:
    return a._like(a.graph.add('And', [a.name, b.name]), np.bool_, None, 0, 1)


@layers.shift_values.register
def _shift_values(values: Symbol, shifts: Symbol, guard: int) -> Symbol:
    """Multiply a mask with shifted values for every number of places.

    Beyond the width of the values, only their sign remains.
    """
    wide, shifts = (values << guard).settle(), shifts.settle()
    far = max(wide.high, -wide.low - 1, 1).bit_length()
    far = min(far, shifts.high)
    total = None
    for places in range(max(shifts.low, 0), far + 1):
        mask = shifts >= far if places == far else shifts == places
        part = layers.matmul(mask, wide >> places)
        total = part if total is None else total + part
    # weights of a row sum to at most 1, and every term loses less than 1
    n = shifts.shape[-1]
    total.low, total.high = max(total.low, min(wide.low, 0) - n), min(total.high, max(wide.high, 0))
    return layers.shift(total, guard)


@layers.max_pool2d.register
def _max_pool2d(x: Symbol, kernel, stride, padding) -> Symbol:
    graph = x.graph
    size = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(x.shape[-2:], kernel, stride, padding)]
    shape = (*x.shape[:-2], *size)
    part = x.shifted()
    if part.post.ndim == 0 and part.dtype in (np.uint8, np.bool_):
        name = graph.add(
            'MaxPool',
            [part.cast(np.uint8)],
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=[*padding, *padding],
        )
        return x._like(name, np.uint8, shape, part.raw_low, part.raw_high, post=part.post)
    part = x.settle()
    name = part.wide()
    dtype = np.int64 if max(-part.low, part.high) >> 31 else np.int32
    if any(padding):
        pads = graph.constant([0, 0, *padding, 0, 0, *padding], np.int64)
        name = graph.add('Pad', [name, pads, graph.constant(part.low, dtype)], mode='constant')
    taps = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            ends = [o + s * (n - 1) + 1 for o, s, n in zip((row, column), stride, size)]
            where = [
                graph.constant(v, np.int64) for v in ((row, column), ends, (2, 3), tuple(stride))
            ]
            taps.append(graph.add('Slice', [name, *where]))
    return part._like(graph.add('Max', taps), dtype, shape)
