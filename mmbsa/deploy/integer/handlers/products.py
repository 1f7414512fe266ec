"""Handlers of convolutions and linear layers with quantised weights, and of bipolar attention."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mmbsa.deploy.integer import layers
from mmbsa.deploy.integer.fixed import (
    Fixed,
    Rules,
    as_ratio,
    bits_of,
    check_width,
    quantize_weight,
    shift,
)
from mmbsa.deploy.integer.handlers.pointwise import multiplies, times
from mmbsa.deploy.integer.handlers.registry import (
    Pixels,
    Real,
    handles,
    module_of,
    plain,
    refuse,
)

#: most bits below the point of potentials that a linear head multiplies; no neuron compares them.
_HEAD_FRACTION = 8


def _weight_bits(rules: Rules, x: Fixed) -> int:
    """Width of the weights that x meets."""
    return max(rules.weight_bits, rules.first_bits) if isinstance(x, Pixels) else rules.weight_bits


def _quantized(
    network, node, x: Fixed, weight: Real, bias: Real | None, product: Callable, axis: int
) -> tuple:
    """Return integer weights, biases, factors, shifts, and the accumulator's width.

    Biases have the step of the accumulator. Factors and shifts convert each channel to the step of
    the potentials. Pixels are not normalised, and zeros around the normalised map represent the
    mean. Therefore the bias contains the mean of the taps inside the map: it is a map, of which few
    rows and columns differ.
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
    if not (np.isfinite(weights).all() and np.isfinite(real_bias).all()):
        raise ValueError(f'{module_of(node)}: its weights or biases are not finite')
    folded = real_bias
    if isinstance(x, Pixels):
        mean, std = _statistics(network, node, x, weights)
        weights = weights / std
        folded = real_bias - product(mean, weights)
    # a bias takes at most half of the accumulator, also beside very small weights
    others = tuple(i for i in range(folded.ndim) if i != folded.ndim - len(channels))
    least = np.abs(folded).max(others) * 2.0 ** (x.fraction + 2 - rules.accumulator_bits)
    integers, scale = quantize_weight(weights, _weight_bits(rules, x), rules.multiply, least)
    if isinstance(x, Pixels):
        # with the rounded weights: their errors then meet pixel - mean, not the pixel
        rounded = integers * scale.reshape(-1, *[1] * (weights.ndim - 1))
        folded = real_bias - product(mean, rounded)
    step = scale * 2.0**-x.fraction
    biases = np.rint(folded / step.reshape(channels)).astype(np.int64)
    bound = int(np.abs(integers).reshape(len(integers), -1).sum(1).max() * x.limit)
    bound += int(np.abs(biases).max())
    width = bits_of(-bound, bound)
    if width > rules.accumulator_bits:
        raise OverflowError(
            f'{module_of(node)}: its sums need {width} bits, '
            f'accumulator_bits={rules.accumulator_bits}'
        )
    factors, places = np.ones(len(step), np.int64), -np.log2(step).astype(np.int64)
    places -= rules.fraction
    if rules.multiply:
        ratios = [as_ratio(value * 2.0**rules.fraction, rules.multiplier_bits) for value in step]
        factors, places = (np.array(column, np.int64) for column in zip(*ratios))
        if width + rules.multiplier_bits > 63:
            raise OverflowError(
                f'{module_of(node)}: sums of {width} bits times '
                f'multiplier_bits={rules.multiplier_bits} leave 64 bits'
            )
    factors, places = factors.reshape(channels), places.reshape(channels)
    network.integers[node.name] = integers, biases, factors, places, width
    return network.integers[node.name]


def _statistics(network, node, x: Pixels, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of the means, as the input of a layer, and the deviations, as its weights."""
    if x.channels is not None:
        raise refuse(node, 'the channels of its pixels were moved')
    channels, (outputs, inputs) = len(network.std), weights.shape[:2]
    if weights.ndim == 2:  # a linear layer on a flat picture
        if x.data.ndim != 2 or inputs % channels:
            raise refuse(node, 'its pixels are not a flat picture (B, C H W)')
        mean, std = (np.repeat(v, inputs // channels)[None] for v in (network.mean, network.std))
        return mean, std
    mean = np.broadcast_to(network.mean.reshape(1, -1, 1, 1), (1, *x.data.shape[1:]))
    groups = channels // inputs
    std = np.repeat(network.std.reshape(groups, inputs), outputs // groups, 0)
    return np.ascontiguousarray(mean), std[..., None, None]


def distinct(biases: np.ndarray) -> np.ndarray:
    """Return a map of biases (1, C, H, W) without repeated rows and columns."""
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
    """Run a convolution or a linear layer: sums of weights, then a shift per channel."""
    if x.limit is None and kind == 'linear' and network.rules.multiply:
        rules, terms = network.rules, bits_of(0, x.data.shape[-1])
        x = plain(network, node, x, min(rules.fraction, _HEAD_FRACTION))
        room = rules.accumulator_bits - rules.weight_bits - terms
        check_width(f'{module_of(node)}: input', x.data, room - rules.spare)
        x = replace(x, limit=1 << (room - 1))
    if x.limit is None:
        raise refuse(
            node,
            'its inputs are potentials, so it needs multiplications; only spikes and pixels add up '
            '(a linear head is allowed to multiply by multiply=True)',
        )
    integers, biases, factors, places, width = _quantized(
        network, node, x, weight, bias, product, axis
    )
    out = shift((product(x.data, integers) + biases) * factors, places)
    check_width(f'{module_of(node)}: output', out, network.rules.room)
    uses, bits = integers[0].size * out.size, _weight_bits(network.rules, x)
    # a count of at most D is added D times
    operations = {'multiplications': uses} if multiplies(x, 255) else {'adds': uses * x.limit}
    operations['shifts'] = out.size
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


@handles('aten.conv2d', 'aten.conv2d.padding', pixels=True)
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


@handles('aten.linear', pixels=True)
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
            raise refuse(node, 'Shiftmax of scores that are not integers: use norm=1 and scale=1')
        values = plain(network, node, v)
        out = Fixed(
            layers.shiftmax_attention(q.data, k.data, values.data, rules.guard), rules.fraction
        )
        width = rules.potential_bits + rules.guard
        if width > rules.accumulator_bits:
            raise OverflowError(
                f'{module_of(node)}: values of {width} bits, '
                f'accumulator_bits={rules.accumulator_bits}'
            )
    else:
        data = layers.unnormalised_attention(q.data, k.data, v.data)
        top = v.limit if v.limit is not None else (1 << (rules.potential_bits - 1)) - 1
        bound = limit * k.data.shape[-2] * top
        width = bits_of(-bound, bound)
        if width > rules.accumulator_bits:
            raise OverflowError(
                f'{module_of(node)}: its sums need {width} bits, '
                f'accumulator_bits={rules.accumulator_bits}'
            )
        out = Fixed(
            data,
            q.fraction + k.fraction + v.fraction,
            q.unit * k.unit * v.unit,
            None if v.limit is None else bound,
        )
        out = times(network, node, out, scale)
    operations = _attention_operations(q, k, v, normalizer)
    network.note(
        node,
        f'attention, {normalizer}',
        operations,
        dict(score=bits_of(-limit, limit), accumulator=width),
    )
    return out, None, None


def _attention_operations(q: Fixed, k: Fixed, v: Fixed, normalizer: str) -> dict[str, int]:
    """Count the operations of an attention, in the order of ``layers.unnormalised_attention``."""
    width, values, keys = q.data.shape[-1], v.data.shape[-1], k.data.shape[-2]
    queries, heads = q.data[..., 0].size, k.data[..., 0, 0].size
    if normalizer == 'none' and keys > width:  # q (k^T v)
        parts = (
            (heads * keys * width * values, multiplies(k) and multiplies(v)),
            (queries * width * values, multiplies(q)),
        )
    else:  # (q k^T) v
        parts = (
            (queries * keys * width, multiplies(q) and multiplies(k)),
            (queries * keys * values, normalizer == 'none' and multiplies(v)),
        )
    found = dict(
        adds=sum(number for number, real in parts if not real),
        multiplications=sum(number for number, real in parts if real),
        shifts=parts[1][0] if normalizer == 'shiftmax' else 0,
    )
    return {name: number for name, number in found.items() if number}
