"""Handlers of operations on axes and maps: views, concatenation, slices, pooling, resizing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mmbsa.deploy.integer import layers
from mmbsa.deploy.integer.handlers.registry import Pixels, handles, module_of, plain, refuse


def _channels(network, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the channel of every pixel: of maps (..., C, H, W), or of flat pictures (B, C H W);
    None if the shape is not one of them."""
    channels = np.arange(len(network.mean))
    if len(shape) == 2 and shape[1] % len(channels) == 0:
        return np.broadcast_to(np.repeat(channels, shape[1] // len(channels)), shape)
    if len(shape) > 2 and shape[-3] == len(channels):
        return np.broadcast_to(channels[:, None, None], shape)
    return None


def _view(function: Callable) -> Callable:
    def handler(network, node, x, *args, **kwargs):
        data = function(x.data, *args)
        if not isinstance(x, Pixels):
            return replace(x, data=data)
        # the first layer must know the mean of every input
        channels = _channels(network, x.data.shape) if x.channels is None else x.channels
        channels = function(channels, *args)
        usual = _channels(network, channels.shape)
        moved = usual is None or not np.array_equal(channels, usual)
        return replace(x, data=data, channels=channels if moved else None)

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
    handles(*_names, pixels=True)(_view(_function))


@handles('aten.expand_as', pixels=True)
def _expand_as(network, node, x, other):
    return replace(x, data=np.broadcast_to(x.data, other.data.shape))


@handles('aten.unbind.int', pixels=True)
def _unbind(network, node, x, dim=0):
    if isinstance(x, Pixels) and dim % x.data.ndim >= x.data.ndim - 3:
        raise refuse(node, 'it divides pixels along channels or positions')
    return [replace(x, data=part) for part in np.moveaxis(x.data, dim, 0)]


@handles('aten.sym_size.int', pixels=True)
def _size(network, node, x, dim):
    return x.data.shape[dim]


@handles('aten.stack', 'aten.cat', pixels=True)
def _join(network, node, parts, dim=0):
    if any(isinstance(part, Pixels) for part in parts):
        raise refuse(node, 'it joins pixels with other maps before a convolution')
    if len({(part.fraction, part.unit) for part in parts}) > 1:
        parts = [plain(network, node, part) for part in parts]
    limits = [part.limit for part in parts]
    join = np.stack if 'stack' in str(node.target) else np.concatenate
    return replace(
        parts[0],
        data=join([part.data for part in parts], dim),
        limit=None if None in limits else max(limits),
    )


@handles('aten.max_pool2d', pixels=True)
def _max_pool(
    network, node, x, kernel, stride=(), padding=(0, 0), dilation=(1, 1), ceil_mode=False
):
    if tuple(dilation) != (1, 1) and tuple(dilation) != (1,) or ceil_mode:
        raise refuse(node, 'dilation and ceil_mode are not supported')
    pairs = [tuple(value) * (2 // len(value)) for value in (kernel, stride or kernel, padding)]
    return replace(x, data=layers.max_pool2d(x.data, *pairs))


def _target(node, x, size, scales) -> tuple[int, ...]:
    """Return the size of a resized map; a factor must give a whole number of pixels."""
    if size:
        return tuple(size)
    real = [n * s for n, s in zip(x.data.shape[-2:], scales)]
    if any(value != round(value) for value in real):
        raise refuse(node, f'scale_factor={tuple(scales)} does not give a whole number of pixels')
    return tuple(round(value) for value in real)


@handles('aten.upsample_bilinear2d.vec')
def _bilinear(network, node, x, size, align_corners, scales):
    x = plain(network, node, x)
    size, width = _target(node, x, size, scales), network.rules.potential_bits + 8
    if width > network.rules.accumulator_bits:
        raise OverflowError(
            f'{module_of(node)}: its sums need {width} bits, '
            f'accumulator_bits={network.rules.accumulator_bits}'
        )
    data = layers.bilinear(x.data, size, align_corners)
    network.note(
        node,
        'bilinear',
        dict(adds=8 * data.size, shifts=data.size),
        dict(weight=5, accumulator=width),
    )
    return replace(x, data=data)


@handles('aten.upsample_nearest2d.vec', pixels=True)
def _nearest(network, node, x, size, scales):
    size = _target(node, x, size, scales)
    rows, columns = (np.arange(target) * n // target for n, target in zip(x.data.shape[-2:], size))
    return replace(x, data=np.take(np.take(x.data, rows, -2), columns, -1))
