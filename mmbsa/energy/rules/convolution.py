"""Rules of convolutions: exact pairs at borders, with stride, dilation, groups, transposed."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from mmbsa.energy import sums
from mmbsa.energy.counts import Counts
from mmbsa.energy.rules.registry import Call, aten, rule, value_bits
from mmbsa.energy.tags import Tag


@rule(
    *aten(
        'convolution _convolution convolution_overrideable cudnn_convolution '
        'mkldnn_convolution miopen_convolution _slow_conv2d_forward slow_conv3d_forward'
    )
)
def convolution(call: Call) -> None:
    """Count a convolution of ``input`` with ``weight`` in 1 to 3 dimensions."""
    args = call.args
    x: Tensor = args['input'] if 'input' in args else args['self']
    weight, out = args['weight'], call.out
    if call.tag(x).weight and call.weights_only():
        return call.put(Tag(origin='weights', weight=True))
    hits, fan_out, dense, valid = geometry(
        x.shape,
        weight.shape,
        out.shape,
        *(tuple(_spread(args.get(key), 1, n)) for key, n in _WINDOW),
        args.get('groups', 1),
        args.get('transposed', False),
    )
    counts, _ = call.row('conv', ('activation', x), ('weight', weight))
    batch = x.shape[0] if x.dim() == weight.dim() else 1
    layer(call, counts, x, weight, dense, valid, batch, hits, fan_out)
    if args.get('bias') is not None:
        counts.bias_adds += out.numel()
    call.put_real(of=(x, weight))


#: arguments of a window, and their defaults.
_WINDOW = (('stride', 1), ('padding', 0), ('dilation', 1))


@lru_cache(1024)
def geometry(
    x: tuple,
    weight: tuple,
    out: tuple,
    stride: tuple,
    padding: tuple,
    dilation: tuple,
    groups: int,
    transposed: bool,
) -> tuple[tuple[tuple[int, ...], ...], int, int, int]:
    """Compute the geometry of a convolution from its shapes.

    Args:
        x, weight, out: shapes of input, weight and output.
        stride, padding, dilation: one value per dimension.
        groups: number of groups.
        transposed: whether it is a transposed convolution.

    Returns:
        Taps that use each position of every dimension, fan-out, dense multiply-adds, and pairs.
    """
    dims = len(weight) - 2
    windows = (list(values) * (dims // len(values)) for values in (stride, padding, dilation))
    hits = tuple(
        sums.taps(*key, transposed) for key in zip(x[-dims:], out[-dims:], weight[2:], *windows)
    )
    fan_out = weight[1] if transposed else weight[0] // groups
    dense = math.prod(x if transposed else out) * weight[1] * math.prod(weight[2:])
    valid = math.prod(x[:-dims]) * math.prod(map(sum, hits)) * fan_out
    return hits, fan_out, dense, valid


def layer(
    call: Call,
    counts: Counts,
    x: Tensor,
    weight: Tensor,
    dense: int,
    valid: int,
    batch: int,
    hits: tuple[tuple[int, ...], ...],
    fan_out: int,
) -> None:
    """Add the counts of one layer of weights.

    Args:
        call: call of the op.
        counts: counts to add to.
        x: input of the layer.
        weight: weights of the layer.
        dense: dense multiply-adds.
        valid: pairs of an input element and a tap inside the map.
        batch: number of samples, T included.
        hits: taps that use each position of every dimension, from :func:`geometry`; empty means one
            tap.
        fan_out: number of weights that every element of x uses per tap.
    """
    tag, out = call.tag(x), call.out
    equal, repeats = once(tag, x)
    events, outputs = sums.pairs(x, tag, 'events', hits, fan_out), out.numel()
    if equal > 1:
        dense, valid, events, outputs = (
            count // equal for count in (dense, valid, events, outputs)
        )
    counts.dense += dense
    counts.valid += valid
    counts.events += events
    counts.outputs += outputs
    if tag.bits is not None:
        bits = sums.pairs(x, tag, 'bits', hits, fan_out)
        counts.ac += bits
        counts.ac_events += events
        counts.ac_dense += tag.bits * dense
        counts.one_bits += call.total(x, 'bits')
    elif tag.domain is not None:
        unit = tag.domain.levels <= 1
        counts.ac += events if unit else sums.pairs(x, tag, 'counts', hits, fan_out)
        counts.ac_events += events
    else:  # also for sums of spikes: a number of several bits is multiplied by a weight
        counts.mac += dense
        counts.mac_valid += valid
        counts.mac_nonzero += events
        counts.mac_repeated += dense * repeats
    images = call.counter.images
    steps = max(1, batch // equal // images, 1 if repeats > 1 else tag.steps)
    words = weight.numel() * images
    counts.words_event += events
    counts.words_once += words
    counts.words_step += words * steps
    counts.words_dense += dense
    add_input(call, counts, x)
    counts.out_bits += outputs * 8 * out.element_size()


def add_input(call: Call, counts: Counts, x: Tensor) -> None:
    """Add the values, counts and bits of the input of a layer.

    Args:
        call: call of the op.
        counts: counts to add to.
        x: input of the layer.
    """
    tag = call.tag(x)
    equal, _ = once(tag, x)
    events, amount = sums.both(x, tag)
    values, bits = x.numel() // equal, value_bits(tag, x)
    events //= equal
    counts.in_values += values
    counts.in_events += events
    counts.in_counts += amount // equal
    counts.in_bits += values * bits
    counts.event_bits += events * bits


def once(tag: Tag, x: Tensor) -> tuple[int, int]:
    """Return the number of equal copies in x, and the steps that one copy represents.

    The work of x is divided by the number of copies.
    """
    if tag.copies <= 1 or not tag.copy_numel or x.numel() % tag.copy_numel:
        return 1, 1
    held = max(1, x.numel() // tag.copy_numel)
    return (held, tag.copies) if held in (1, tag.copies) else (1, 1)


def _spread(value, dims: int, default: int) -> list[int]:
    values = (
        [default] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    )
    return values * dims if len(values) == 1 else values


@rule('torchvision::deform_conv2d')
def deformable(call: Call) -> None:
    """Count a deformable convolution with a mask and one weight per channel.

    Samples are real; the mask may hold spikes. A sample needs four multiply-adds of bilinear
    interpolation where the mask is not zero. With a mask of spikes it is added as often as the
    count in the mask; with a real mask it needs one more multiply-add. The weights are ones.
    """
    x, mask = call.args['input'], call.args['mask']
    share = x.shape[1] // call.args['offset_groups']  # channels that share a mask
    counts, _ = call.row('deformable', ('activation', x), ('mask', mask))
    samples, fired = (count * share for count in (mask.numel(), call.total(mask, 'events')))
    counts.dense += samples
    counts.valid += samples
    counts.events += fired
    counts.outputs += call.out.numel()
    macs = 4
    if call.tag(mask).domain is not None:
        counts.ac += share * call.total(mask, 'counts')
        counts.ac_events += fired
    else:
        macs = 5
    counts.mac += macs * samples
    counts.mac_valid += macs * samples
    counts.mac_nonzero += macs * fired
    counts.mac_repeated += macs * samples
    add_input(call, counts, x)
    add_input(call, counts, mask)
    counts.out_bits += call.out.numel() * 8 * call.out.element_size()
    call.put_real()


@rule('aten::convolution_backward', 'mmbsa::conv_weight_grad')
def backward(call: Call) -> None:
    """Count the multiply-adds of the gradients to input and weight, in training only.

    They are not part of inference.
    """
    args = call.args
    if 'kernel_size' in args:
        x, grad = args['x'], args['grad']
        macs = grad.numel() * x.shape[1] // args['groups'] * math.prod(args['kernel_size'])
    else:
        grad, weight = args['grad_output'], args['weight']
        macs = (
            grad.numel()
            * weight.shape[1]
            * math.prod(weight.shape[2:])
            * sum(args['output_mask'][:2])
        )
    counts, _ = call.row('backward', numbered=False)
    counts.mac += macs
    for x in call.result if isinstance(call.result, tuple | list) else (call.result,):
        if isinstance(x, torch.Tensor):
            call.put_real(x=x)
