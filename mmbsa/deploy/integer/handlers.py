"""The integer form of every operation that exported spiking networks are made of."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from torch.fx import Node

from mmbsa.deploy.integer import layers
from mmbsa.deploy.integer.fixed import (
    Fixed,
    Rules,
    as_ratio,
    bits_of,
    check_width,
    power_of_two,
    quantize_weight,
    shift,
)


@dataclass(frozen=True)
class Pixels(Fixed):
    """Pixels as they are; the first convolution takes in the normalisation."""


@dataclass(frozen=True)
class Real:
    """A weight of the graph, which a layer quantises when it is reached first."""

    name: str
    tensor: Tensor | None

    def numpy(self) -> np.ndarray:
        """float64."""
        return self.tensor.detach().double().numpy()


_HANDLERS: dict[str, Callable] = {}


def module_of(node: Node) -> str:
    """Name of the module that a node of a graph comes from."""
    stack = list((node.meta.get('nn_module_stack') or {}).values())
    name = stack[-1][0] if stack else node.name
    return name.removeprefix('model.') or node.name


def handles(*names: str):
    """Register a function ``(network, node, *args, **kwargs)`` for these ``aten`` or ``mmbsa``
    operations."""

    def decorate(function: Callable) -> Callable:
        _HANDLERS.update(dict.fromkeys(names, function))
        return function

    return decorate


def refuse(node: Node, why: str) -> ValueError:
    """The error of an operation without an integer form."""
    return ValueError(f'{module_of(node)}: {str(node.target)} has no integer form: {why}')


def apply(network, node: Node, args: tuple, kwargs: dict):
    """Run one node on integers."""
    name = str(node.target).removesuffix('.default')
    if node.target is operator.getitem:
        return args[0][args[1]]
    if name in _HANDLERS:
        return _HANDLERS[name](network, node, *args, **kwargs)
    if not any(isinstance(x, Fixed | Real) for x in args):
        return node.target(*args, **kwargs)  # arithmetic on sizes
    raise refuse(node, 'it is real-valued')


def plain(network, node: Node, x: Fixed, fraction: int | None = None) -> Fixed:
    """x as a potential with unit 1, in the network's step or another one, rounded."""
    fraction = network.rules.fraction if fraction is None else fraction
    data, places = x.data, x.fraction - fraction
    if x.unit != 1:
        if not network.rules.multiply:
            raise refuse(node, f'the factor {x.unit:g} is no power of two; set multiply=True')
        factor, more = as_ratio(x.unit, network.rules.multiplier_bits)
        check_width(f'{node.name}: product', data, 63 - network.rules.multiplier_bits)
        data, places = data * factor, places + more
    data = shift(data, places)
    check_width(f'{node.name}: potential', data, network.rules.room)
    return Fixed(data, fraction)


# views
# ------------------------------------------------------------------------------
def _view(function: Callable) -> Callable:
    def handler(network, node, x, *args, **kwargs):
        return replace(x, data=function(x.data, *args))

    return handler


def _unflatten(x: np.ndarray, dim: int, sizes) -> np.ndarray:
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def _flatten(x: np.ndarray, start: int = 0, end: int = -1) -> np.ndarray:
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def _expand(x: np.ndarray, sizes, *_) -> np.ndarray:
    offset = len(sizes) - x.ndim
    return np.broadcast_to(
        x, [x.shape[i - offset] if size == -1 else size for i, size in enumerate(sizes)]
    )


def _slice(x: np.ndarray, dim: int = 0, start=None, end=None, step: int = 1) -> np.ndarray:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, end, step)
    return x[tuple(index)]


for _names, _function in (
    (('aten.unsqueeze',), np.expand_dims),
    (('aten.flatten.using_ints',), _flatten),
    (('aten.squeeze.dim',), lambda x, dim: x.squeeze(dim) if x.shape[dim] == 1 else x),
    (('aten.unflatten.int',), _unflatten),
    (('aten.permute',), np.transpose),
    (('aten.transpose.int',), np.swapaxes),
    (('aten.select.int',), lambda x, dim, i: np.take(x, i, dim)),
    (('aten.expand',), _expand),
    (('aten.slice.Tensor',), _slice),
    (('aten.view', 'aten.reshape'), lambda x, shape: x.reshape(shape)),
    (
        (
            'aten.contiguous',
            'aten.clone',
            'aten.detach',
            'aten.to.dtype',
            'aten.alias',
            'aten.detach_',
        ),
        lambda x, *_: x,
    ),
):
    handles(*_names)(_view(_function))


@handles('aten.expand_as')
def _expand_as(network, node, x, other):
    return replace(x, data=np.broadcast_to(x.data, other.data.shape))


@handles('aten.unbind.int')
def _unbind(network, node, x, dim=0):
    return [replace(x, data=part) for part in np.moveaxis(x.data, dim, 0)]


@handles('aten.sym_size.int')
def _size(network, node, x, dim):
    return x.data.shape[dim]


@handles('aten.stack', 'aten.cat')
def _join(network, node, parts, dim=0):
    if len({(part.fraction, part.unit) for part in parts}) > 1:
        parts = [plain(network, node, part) for part in parts]
    limits = [part.limit for part in parts]
    join = np.stack if 'stack' in str(node.target) else np.concatenate
    return replace(
        parts[0],
        data=join([part.data for part in parts], dim),
        limit=None if None in limits else max(limits),
    )


# neurons
# ------------------------------------------------------------------------------
@handles('mmbsa.lif')
def _lif(
    network,
    node,
    x,
    v0,
    tau,
    decay_input,
    v_threshold,
    v_reset,
    detach_reset,
    surrogate,
    alpha,
    signed,
    impl,
):
    rules, name = network.rules, str(node.name)
    if v0 is not None:
        raise refuse(node, 'it continues from a membrane')
    x = plain(network, node, x)
    leak = None if tau is None else layers.Leak(name, tau, rules)
    unit = 1 << rules.fraction
    threshold = int(np.ceil(v_threshold * unit))
    reset = None if v_reset is None else int(round(v_reset * unit))
    spikes = layers.lif(x.data, leak, decay_input, threshold, reset, signed, name, rules.room)
    operations = dict(adds=2 * x.data.size, comparisons=x.data.size * (1 + signed))
    if leak is not None:
        operations['multiplications' if leak.multiplies else 'shifts'] = x.data.size
    network.note(node, 'lif', operations, dict(membrane=rules.potential_bits, output=1 + signed))
    return Fixed(spikes, limit=1), None


@handles('aten.clamp')
def _clamp(network, node, x, low=None, high=None):
    if x.unit != 1 and not network.rules.multiply and float(low).is_integer():
        return _counted(network, node, x, int(low), int(high))
    if x.limit is None or x.unit != 1:
        x = plain(network, node, x)
    bounds = [int(np.floor(bound * 2**x.fraction)) for bound in (low, high)]
    network.note(
        node,
        'integer neuron',
        dict(comparisons=2 * x.data.size, shifts=x.data.size),
        dict(membrane=network.rules.potential_bits, output=bits_of(int(low), int(high))),
    )
    return Fixed(np.clip(x.data, *bounds), x.fraction, limit=max(map(abs, bounds)))


def _counted(network, node, x: Fixed, low: int, high: int) -> Fixed:
    """Clip and round of potentials with a factor that is no power of two: the factor goes into the
    thresholds (n - 1/2) / factor. Between integers there are no ties but by chance; they go up."""
    step = 2.0**x.fraction / x.unit
    thresholds = [int(np.ceil((n - 0.5) * step)) for n in range(low + 1, high + 1)]
    network.note(
        node,
        'integer neuron',
        dict(comparisons=len(thresholds) * x.data.size),
        dict(membrane=network.rules.potential_bits, output=bits_of(low, high)),
    )
    return Fixed(layers.reached(x.data, thresholds, low), limit=max(abs(low), high))


@handles('aten.round')
def _round(network, node, x):
    limit = None if x.limit is None else -(-x.limit >> x.fraction)
    return Fixed(layers.round_half_even(x.data, x.fraction), limit=limit and max(limit, 1))


@handles('aten.floor')
def _floor(network, node, x):
    return Fixed(
        x.data >> x.fraction, limit=None if x.limit is None else max(x.limit >> x.fraction, 1)
    )


@handles('aten.div.Tensor')
def _divide(network, node, x, by):
    if isinstance(by, Fixed | Real):
        raise refuse(node, 'it divides by a tensor')
    return _times(network, node, x, 1 / by)


# sums and products
# ------------------------------------------------------------------------------------------------
def _times(network, node, x: Fixed, factor: float) -> Fixed:
    """x times a number: a power of two moves the point, another factor goes into the next
    weights."""
    k = power_of_two(abs(factor))
    if factor <= 0:
        raise refuse(node, f'the factor {factor:g} is not positive')
    return (
        replace(x, fraction=x.fraction - k) if k is not None else replace(x, unit=x.unit * factor)
    )


def _constant(network, node, x: Real, fraction: int) -> Fixed:
    if node.name not in network.integers:
        network.integers[node.name] = (
            np.rint(x.numpy() * 2.0**fraction).astype(np.int64),
            fraction,
        )
    data, fraction = network.integers[node.name]
    return Fixed(data, fraction)


@handles('aten.add.Tensor', 'aten.sub.Tensor')
def _add(network, node, a, b, alpha=1):
    sign = -1 if 'sub' in str(node.target) else 1
    if isinstance(b, int | float):
        unit = 1 << max(a.fraction, 1)
        a = a if a.fraction else replace(a, data=a.data << 1, fraction=1)
        return replace(
            a,
            data=a.data + sign * int(round(alpha * b * unit)),
            limit=None if a.limit is None else a.limit + unit,
        )
    a, b = (
        _constant(network, node, x, network.rules.fraction) if isinstance(x, Real) else x
        for x in (a, b)
    )
    if alpha != 1:
        k = power_of_two(alpha)
        if k is not None and k < 0:
            b = plain(network, node, b)
            b = replace(
                b, data=b.data >> -k
            )  # the leak of an integer neuron: floored, as all leaks are
        else:
            b = _times(network, node, b, alpha)
            b = b if b.unit == 1 else plain(network, node, b)
    if a.unit != b.unit or a.limit is None or b.limit is None:
        a, b = (plain(network, node, x) for x in (a, b))
    fraction = max(a.fraction, b.fraction)
    data = (a.data << fraction - a.fraction) + sign * (b.data << fraction - b.fraction)
    limit = None
    if a.limit is not None:
        limit = (a.limit << fraction - a.fraction) + (b.limit << fraction - b.fraction)
    else:
        check_width(f'{node.name}: sum', data, network.rules.room)
    return Fixed(data, fraction, a.unit, limit)


@handles('aten.mul.Tensor')
def _multiply(network, node, a, b):
    if isinstance(b, int | float):
        return _times(network, node, a, b)
    if isinstance(a, Real) or isinstance(b, Real):
        raise refuse(
            node,
            'it scales potentials by a tensor; only scales that end in a convolution fold into it',
        )
    if a.limit is None or b.limit is None:
        raise refuse(node, 'it is a product of potentials')
    network.note(
        node,
        'mask',
        dict(ands=max(a.data.size, b.data.size)),
        dict(output=bits_of(0, a.limit * b.limit)),
    )
    return Fixed(a.data * b.data, a.fraction + b.fraction, a.unit * b.unit, a.limit * b.limit)


@handles('aten.sum.dim_IntList')
def _sum(network, node, x, dims, keepdim=False, dtype=None):
    data = x.data.sum(tuple(dims), keepdims=keepdim)
    count = x.data.size // max(data.size, 1)
    check_width(f'{node.name}: sum', data, network.rules.accumulator_bits)
    return replace(x, data=data, limit=None if x.limit is None else x.limit * count)


@handles('aten.mean.dim')
def _mean(network, node, x, dims, keepdim=False, dtype=None):
    total = _sum(network, node, x, dims, keepdim)
    out = _times(network, node, total, total.data.size / x.data.size)
    network.note(node, 'mean', dict(adds=x.data.size), dict(sum=network.rules.accumulator_bits))
    return out if out.limit is not None or out.unit != 1 else plain(network, node, out)


# weights
# ------------------------------------------------------------------------------
#: most bits below the point of potentials that a linear head multiplies; no neuron compares them.
_HEAD_FRACTION = 8


def _weight_bits(rules: Rules, x: Fixed) -> int:
    """Width of the weights that x meets."""
    return max(rules.weight_bits, rules.first_bits) if isinstance(x, Pixels) else rules.weight_bits


def _quantized(
    network, node, x: Fixed, weight: Real, bias: Real | None, product: Callable, axis: int
) -> tuple:
    """Integer weights, biases in the accumulator's step, factors and shifts to the potentials'
    step per channel, and the accumulator's width.

    Pixels come as they are, and zeros around the normalised map stand for the mean. So the bias
    takes in the mean of those taps that lie inside the map: it is a map, of which few rows and
    columns differ.
    """
    if node.name in network.integers:
        return network.integers[node.name]
    rules = network.rules
    weights = weight.numpy() * x.unit
    channels = [
        -1 if i == axis % (x.data.ndim) else 1 for i in range(axis % x.data.ndim, x.data.ndim)
    ]
    real_bias = np.zeros(len(weights)) if bias is None else bias.numpy()
    real_bias = real_bias.reshape(channels)
    if isinstance(x, Pixels):
        weights = weights / network.std.reshape(1, -1, *[1] * (weights.ndim - 2))
    integers, scale = quantize_weight(weights, _weight_bits(rules, x), rules.multiply)
    if isinstance(x, Pixels):
        mean = network.mean.reshape(1, *channels)
        inside = np.broadcast_to(mean, (1, *x.data.shape[1:]))
        # with the rounded weights: their errors then meet pixel - mean, not the pixel
        rounded = integers * scale.reshape(-1, *[1] * (weights.ndim - 1))
        real_bias = real_bias - product(np.ascontiguousarray(inside), rounded)
    step = scale * 2.0**-x.fraction
    biases = np.rint(real_bias / step.reshape(channels)).astype(np.int64)
    bound = int(np.abs(integers).reshape(len(integers), -1).sum(1).max() * x.limit)
    bound += int(np.abs(biases).max())
    width = bits_of(-bound, bound)
    if width > rules.accumulator_bits:
        raise OverflowError(
            f'{node.name}: its sums need {width} bits, accumulator_bits={rules.accumulator_bits}'
        )
    factors, places = np.ones(len(step), np.int64), -np.log2(step).astype(np.int64)
    places -= rules.fraction
    if rules.multiply:
        ratios = [as_ratio(value * 2.0**rules.fraction, rules.multiplier_bits) for value in step]
        factors, places = (np.array(column, np.int64) for column in zip(*ratios))
        if width + rules.multiplier_bits > 63:
            raise OverflowError(
                f'{node.name}: sums of {width} bits times multiplier_bits={rules.multiplier_bits} '
                'leave 64 bits'
            )
    factors, places = factors.reshape(channels), places.reshape(channels)
    network.integers[node.name] = integers, biases, factors, places, width
    return network.integers[node.name]


def distinct(biases: np.ndarray) -> np.ndarray:
    """A map of biases (1, C, H, W) without the rows and columns that repeat; others as they are."""
    for axis in (-1, -2):
        if biases.ndim == 4:
            biases = np.unique(biases, axis=axis)
    return biases


def _weighted(
    network,
    node,
    x: Fixed,
    weight: Real,
    bias: Real | None,
    kind: str,
    product: Callable,
    axis: int,
) -> Fixed:
    """A convolution or a linear layer: sums of weights, then a shift per channel, which is
    ``axis``."""
    if x.limit is None and kind == 'linear' and network.rules.multiply:
        rules, terms = network.rules, bits_of(0, x.data.shape[-1])
        x = plain(network, node, x, min(rules.fraction, _HEAD_FRACTION))
        room = rules.accumulator_bits - rules.weight_bits - terms
        check_width(f'{node.name}: input', x.data, room - rules.spare)
        x = replace(x, limit=1 << (room - 1))
    if x.limit is None:
        raise refuse(
            node,
            'its input are potentials, so it needs multiplications; only spikes and pixels add up '
            '(a linear head is allowed to multiply by multiply=True)',
        )
    integers, biases, factors, places, width = _quantized(
        network, node, x, weight, bias, product, axis
    )
    out = shift((product(x.data, integers) + biases) * factors, places)
    check_width(f'{node.name}: output', out, network.rules.room)
    uses, bits = integers[0].size * out.size, _weight_bits(network.rules, x)
    counted = isinstance(x, Pixels) or x.limit > 255
    operations = {'multiplications' if counted else 'adds': uses, 'shifts': out.size}
    if network.rules.multiply:
        operations['multiplications'] = operations.get('multiplications', 0) + out.size
    network.note(
        node,
        kind,
        operations,
        dict(
            input=bits_of(0 if isinstance(x, Pixels) else -x.limit, x.limit),
            weight=bits,
            accumulator=width,
            output=network.rules.potential_bits,
        ),
        integers.size * bits // 8 + distinct(biases).size * 4,
    )
    return Fixed(out, network.rules.fraction)


@handles('aten.conv2d', 'aten.conv2d.padding')
def _conv2d(
    network, node, x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
):
    if isinstance(padding, str):
        raise refuse(node, f'padding={padding!r} is not supported')
    pairs = [tuple(value) * (2 // len(value)) for value in (stride, padding, dilation)]
    return _weighted(
        network,
        node,
        x,
        weight,
        bias,
        'conv',
        lambda data, w: layers.conv2d(data, w, *pairs, groups),
        -3,
    )


@handles('aten.linear')
def _linear(network, node, x, weight, bias=None):
    def product(data, w):
        return layers.matmul(data, w.T)

    return _weighted(network, node, x, weight, bias, 'linear', product, -1)


@handles('mmbsa.bipolar_attention')
def _attention(network, node, q, k, v, product, normalizer, scale, grad, impl, units=()):
    rules = network.rules
    if normalizer == 'softmax':
        raise refuse(node, 'softmax divides and takes exponentials')
    if q.limit is None or k.limit is None:
        raise refuse(node, 'q or k are potentials')
    limit = q.limit * k.limit * q.data.shape[-1]
    if normalizer == 'shiftmax':
        if scale != 1 or q.fraction or k.fraction or q.unit != 1 or k.unit != 1:
            raise refuse(node, 'Shiftmax of scores that are not whole: use norm=1 and scale=1')
        values = plain(network, node, v)
        out = Fixed(
            layers.shiftmax_attention(q.data, k.data, values.data, rules.guard), rules.fraction
        )
        width = rules.potential_bits + rules.guard
        if width > rules.accumulator_bits:
            raise OverflowError(
                f'{node.name}: values of {width} bits, accumulator_bits={rules.accumulator_bits}'
            )
    else:
        data = layers.unnormalised_attention(q.data, k.data, v.data)
        top = v.limit if v.limit is not None else (1 << (rules.potential_bits - 1)) - 1
        bound = limit * k.data.shape[-2] * top
        width = bits_of(-bound, bound)
        if width > rules.accumulator_bits:
            raise OverflowError(
                f'{node.name}: its sums need {width} bits, '
                f'accumulator_bits={rules.accumulator_bits}'
            )
        out = Fixed(
            data,
            q.fraction + k.fraction + v.fraction,
            q.unit * k.unit * v.unit,
            None if v.limit is None else bound,
        )
        out = _times(network, node, out, scale)
    pairs = q.data[..., 0].size * k.data.shape[-2]
    mixing = pairs * v.data.shape[-1]
    network.note(
        node,
        f'attention, {normalizer}',
        {
            'adds': pairs * q.data.shape[-1] + mixing,
            **({'shifts': mixing} if normalizer == 'shiftmax' else {}),
        },
        dict(score=bits_of(-limit, limit), accumulator=width),
    )
    return out, None, None


# maps
# ------------------------------------------------------------------------------
@handles('aten.max_pool2d')
def _max_pool(
    network, node, x, kernel, stride=(), padding=(0, 0), dilation=(1, 1), ceil_mode=False
):
    if tuple(dilation) != (1, 1) and tuple(dilation) != (1,) or ceil_mode:
        raise refuse(node, 'dilation and ceil_mode are not supported')
    pairs = [tuple(value) * (2 // len(value)) for value in (kernel, stride or kernel, padding)]
    return replace(x, data=layers.max_pool2d(x.data, *pairs))


@handles('aten.upsample_bilinear2d.vec')
def _bilinear(network, node, x, size, align_corners, scales):
    x = plain(network, node, x)
    size = tuple(size) if size else tuple(int(n * s) for n, s in zip(x.data.shape[-2:], scales))
    data = layers.bilinear(x.data, size, align_corners)
    network.note(
        node,
        'bilinear',
        dict(adds=8 * data.size, shifts=data.size),
        dict(weight=5, accumulator=(network.rules.potential_bits + 8)),
    )
    return replace(x, data=data)


@handles('aten.upsample_nearest2d.vec')
def _nearest(network, node, x, size, scales):
    size = tuple(size) if size else tuple(int(n * s) for n, s in zip(x.data.shape[-2:], scales))
    rows, columns = (np.arange(target) * n // target for n, target in zip(x.data.shape[-2:], size))
    return replace(x, data=np.take(np.take(x.data, rows, -2), columns, -1))
