"""The public weight gradient of convolutions, its registration with ``torch.library``, and its
validation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbsa.ops import dispatch
from mmbsa.ops.conv_weight_grad import native, reference
from mmbsa.ops.registration import Op

NAME = 'conv_weight_grad'

dispatch.register(
    NAME,
    dispatch.Implementation(
        'native',
        native.compute,
        missing=native.missing,
        refuses=native.refuses,
        slower=native.slower,
    ),
)
dispatch.register(NAME, dispatch.Implementation('reference', reference.compute))


def conv_weight_grad(
    x: Tensor,
    grad: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
    impl: str = 'auto',
) -> Tensor:
    """The gradient of ``conv2d(x, weight, None, stride, padding, 1, groups)`` to its weight.

    .. math::
        dW[o, c, i, j] =
            \\sum_{n, y, z} dY[n, o, y, z] \\, X[n, c, s_h y - p_h + i, s_w z - p_w + j]

    ``native`` takes channels-last float32 maps on a CPU; sums are float32 over blocks of positions,
    which are then added up. It is deterministic for a fixed number of threads. Padding counts as
    zeros there, so that an infinite gradient at a padded border makes NaN of the taps that see the
    padding, where oneDNN's depth-wise kernel leaves them out.

    Args:
        x: (N, C, H, W) input of the convolution.
        grad: (N, O, OH, OW) gradient of its output, on x's device and in its dtype; native copies
            it unless it is channels-last.
        kernel_size: kh and kw, an int or a pair like stride and padding.
        stride: of the convolution, positive.
        padding: of the convolution, zeros on both sides.
        groups: of the convolution; divides C and O.
        memory_format: layout of the result: contiguous, or channels-last where the weight is.
        impl: ``'auto'`` or one of ``implementations('conv_weight_grad')``.

    Returns:
        (O, C / groups, kh, kw) in x's dtype. It has no gradient of its own: double backward raises.

    Raises:
        ValueError: shapes, dtypes or options that are no convolution; the message names the
            argument.
        RuntimeError: the implementation asked for cannot take this call; with the reason.
    """
    kernel_size, stride, padding = (
        pair(name, value, least)
        for name, value, least in (
            ('kernel_size', kernel_size, 1),
            ('stride', stride, 1),
            ('padding', padding, 0),
        )
    )
    check(x, grad, kernel_size, stride, padding, groups)
    if memory_format not in (torch.contiguous_format, torch.channels_last):
        raise ValueError(
            f'{NAME}: memory_format must be contiguous or channels-last, got {memory_format}'
        )
    chosen = dispatch.resolve(NAME, impl, x, grad.size(1), kernel_size, stride, padding, groups)
    return _OP(
        x, grad, kernel_size, stride, padding, groups, memory_format == torch.channels_last, chosen
    )


def preferred(
    x: Tensor,
    out_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> str:
    """The implementation that ``auto`` takes; known before there is a gradient."""
    return dispatch.resolve(NAME, 'auto', x, out_channels, kernel_size, stride, padding, groups)


def pair(name: str, value: int | Sequence[int], least: int) -> list[int]:
    """An int or two of them, as two.

    Raises:
        ValueError: something else, or less than ``least``.
    """
    values = [value, value] if isinstance(value, int) else list(value)
    if len(values) != 2 or not all(isinstance(v, int) and v >= least for v in values):
        raise ValueError(
            f'{NAME}: {name} must be an int or a pair of ints of at least {least}, got {value}'
        )
    return values


def check(
    x: Tensor,
    grad: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> None:
    """Raise a ValueError unless ``grad`` is what a convolution of x has as its gradient."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(
            f'{NAME}: x must be floating and (N, C, H, W), got {x.dtype} {tuple(x.shape)}'
        )
    if grad.dtype != x.dtype or grad.device != x.device:
        raise ValueError(
            f'{NAME}: grad must be {x.dtype} on {x.device} like x, got {grad.dtype} on '
            f'{grad.device}'
        )
    if grad.dim() != 4:
        raise ValueError(f'{NAME}: grad must be (N, O, OH, OW), got {tuple(grad.shape)}')
    if groups < 1 or x.size(1) % groups or grad.size(1) % groups:
        raise ValueError(
            f'{NAME}: groups must divide the {x.size(1)} channels of x and the {grad.size(1)} of '
            'grad, got '
            f'{groups}'
        )
    sides = [
        (size + 2 * p - k) // s + 1
        for size, p, k, s in zip(x.shape[2:], padding, kernel_size, stride)
    ]
    if (grad.size(0), *grad.shape[2:]) != (x.size(0), *sides):
        raise ValueError(
            f'{NAME}: grad must be ({x.size(0)}, O, {sides[0]}, {sides[1]}) for x '
            f'{tuple(x.shape)}, '
            f'kernel_size={kernel_size}, stride={stride} and padding={padding}, got '
            f'{tuple(grad.shape)}'
        )


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _compute(
    x: Tensor,
    grad: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    channels_last: bool,
    impl: str,
) -> Tensor:
    if not x.numel() or not grad.numel():
        return _empty(x, grad, kernel_size, stride, padding, groups, channels_last, impl).zero_()
    return dispatch.get(NAME, impl).forward(
        x, grad, kernel_size, stride, padding, groups, _layout(channels_last)
    )


def _empty(
    x: Tensor,
    grad: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    channels_last: bool,
    impl: str,
) -> Tensor:
    shape = grad.size(1), x.size(1) // groups, *kernel_size
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(channels_last))


_OP = Op(
    'conv_weight_grad(Tensor x, Tensor grad, int[2] kernel_size, int[2] stride, int[2] padding, '
    'int groups, '
    'bool channels_last, str impl) -> Tensor',
    _compute,
    _empty,
)
