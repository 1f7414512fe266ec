"""Handlers of element-wise operations: neurons, sums, means, products with numbers and masks."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from mmbsa.deploy.integer import layers
from mmbsa.deploy.integer.fixed import Fixed, as_ratio, bits_of, check_width, power_of_two
from mmbsa.deploy.integer.handlers.registry import (
    Pixels,
    Real,
    handles,
    module_of,
    plain,
    refuse,
)


def multiplies(x: Fixed, most: int = 1) -> bool:
    """Return whether products with x multiply: pixels, potentials, or counts > ``most``."""
    return isinstance(x, Pixels) or x.limit is None or x.limit > most


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
    rules, name = network.rules, module_of(node)
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
    if low is None or high is None:
        raise refuse(node, 'it has one bound; an integer neuron has two')
    if x.unit != 1 and not network.rules.multiply and float(low).is_integer():
        return _counted(network, node, x, int(low), int(high))
    if x.limit is None or x.unit != 1:
        x = plain(network, node, x)
    x = _whole(x)
    bounds = [int(np.floor(bound * 2**x.fraction)) for bound in (low, high)]
    network.note(
        node,
        'integer neuron',
        dict(comparisons=2 * x.data.size, shifts=x.data.size),
        dict(membrane=network.rules.potential_bits, output=bits_of(int(low), int(high))),
    )
    return Fixed(np.clip(x.data, *bounds), x.fraction, limit=max(map(abs, bounds)))


def _whole(x: Fixed) -> Fixed:
    """Return x with a fraction of at least 0, as after a factor that is a power of two."""
    if x.fraction >= 0:
        return x
    limit = None if x.limit is None else x.limit << -x.fraction
    return replace(x, data=x.data << -x.fraction, fraction=0, limit=limit)


def _counted(network, node, x: Fixed, low: int, high: int) -> Fixed:
    """Clip and round potentials with a factor that is not a power of two.

    The factor is part of the thresholds (n - 1/2) / factor. A potential on a threshold rounds up,
    or to the even neighbour if ``aten.round`` follows.
    """
    near = Fraction(x.unit).limit_denominator(1 << 16)  # the unit of a norm is one of few fractions
    unit = near if abs(near - x.unit) <= 1e-12 * x.unit else Fraction(x.unit)
    to_even, thresholds = any('round' in str(user.target) for user in node.users), []
    for n in range(low + 1, high + 1):
        threshold = (n - Fraction(1, 2)) * Fraction(2) ** x.fraction / unit
        tie = threshold.denominator == 1
        thresholds.append(math.ceil(threshold) + (to_even and tie and n % 2 == 1))
    network.note(
        node,
        'integer neuron',
        dict(comparisons=len(thresholds) * x.data.size),
        dict(membrane=network.rules.potential_bits, output=bits_of(low, high)),
    )
    return Fixed(layers.reached(x.data, thresholds, low), limit=max(abs(low), high))


@handles('aten.round')
def _round(network, node, x):
    x = _whole(x)
    limit = None if x.limit is None else -(-x.limit >> x.fraction)
    return Fixed(layers.round_half_even(x.data, x.fraction), limit=limit and max(limit, 1))


@handles('aten.floor')
def _floor(network, node, x):
    x = _whole(x)
    return Fixed(
        x.data >> x.fraction, limit=None if x.limit is None else max(x.limit >> x.fraction, 1)
    )


@handles('aten.div.Tensor')
def _divide(network, node, x, by):
    if isinstance(by, Fixed | Real):
        raise refuse(node, 'it divides by a tensor')
    return times(network, node, x, 1 / by)


def times(network, node, x: Fixed, factor: float) -> Fixed:
    """Return x times a number.

    A power of two moves the binary point; another factor goes into the next weights.
    """
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


def _multiplied(network, node, x: Fixed, factor: float) -> tuple[Fixed, int, int]:
    """Return x, a multiplier and a shift for a factor that is not a power of two."""
    bits = network.rules.multiplier_bits
    if not network.rules.multiply:
        raise refuse(node, f'the factor {factor:g} is not a power of two; set multiply=True')
    check_width(f'{module_of(node)}: product', x.data, 63 - bits)
    network.note(node, 'factor', dict(multiplications=x.data.size, shifts=x.data.size), {})
    return x, *as_ratio(factor, bits)


@handles('aten.add.Tensor', 'aten.sub.Tensor')
def _add(network, node, a, b, alpha=1):
    sign = -1 if 'sub' in str(node.target) else 1
    if isinstance(b, int | float):
        places = max(1 - a.fraction, 0)  # at least halves
        limit, fraction = a.limit, a.fraction + places
        constant = sign * round(alpha * b / a.unit * 2**fraction)
        limit = None if limit is None else (limit << places) + abs(constant)
        return replace(a, data=(a.data << places) + constant, fraction=fraction, limit=limit)
    a, b = (
        _constant(network, node, x, network.rules.fraction) if isinstance(x, Real) else x
        for x in (a, b)
    )
    if alpha != 1:
        k = power_of_two(alpha)
        if 0 < alpha < 1:  # the leak of an integer neuron: rounded down, as all leaks are
            b, factor, places = plain(network, node, b), 1, None if k is None else -k
            if places is None:
                b, factor, places = _multiplied(network, node, b, alpha)
            b = replace(b, data=(b.data * factor if factor != 1 else b.data) >> places)
        else:
            b = times(network, node, b, alpha)
            b = b if b.unit == 1 else plain(network, node, b)
    if a.unit != b.unit or a.limit is None or b.limit is None:
        a, b = (plain(network, node, x) for x in (a, b))
    fraction = max(a.fraction, b.fraction)
    data = (a.data << fraction - a.fraction) + sign * (b.data << fraction - b.fraction)
    limit = None
    if a.limit is not None:
        limit = (a.limit << fraction - a.fraction) + (b.limit << fraction - b.fraction)
    else:
        check_width(f'{module_of(node)}: sum', data, network.rules.room)
    return Fixed(data, fraction, a.unit, limit)


@handles('aten.mul.Tensor')
def _multiply(network, node, a, b):
    if isinstance(b, int | float):
        return times(network, node, a, b)
    if isinstance(a, Real) or isinstance(b, Real):
        raise refuse(
            node,
            'it scales potentials by a tensor; only a scale after a convolution can be folded '
            'into it',
        )
    if a.limit is None or b.limit is None:
        raise refuse(node, 'it is a product of potentials')
    products = 'multiplications' if multiplies(a) and multiplies(b) else 'ands'
    network.note(
        node,
        'mask',
        {products: max(a.data.size, b.data.size)},
        dict(output=bits_of(0, a.limit * b.limit)),
    )
    return Fixed(a.data * b.data, a.fraction + b.fraction, a.unit * b.unit, a.limit * b.limit)


@handles('aten.sum.dim_IntList')
def _sum(network, node, x, dims, keepdim=False, dtype=None):
    data = x.data.sum(tuple(dims), keepdims=keepdim)
    count = x.data.size // max(data.size, 1)
    check_width(f'{module_of(node)}: sum', data, network.rules.accumulator_bits)
    return replace(x, data=data, limit=None if x.limit is None else x.limit * count)


@handles('aten.mean.dim')
def _mean(network, node, x, dims, keepdim=False, dtype=None):
    total = _sum(network, node, x, dims, keepdim)
    out = times(network, node, total, total.data.size / x.data.size)
    network.note(node, 'mean', dict(adds=x.data.size), dict(sum=network.rules.accumulator_bits))
    return out if out.limit is not None or out.unit != 1 else plain(network, node, out)
