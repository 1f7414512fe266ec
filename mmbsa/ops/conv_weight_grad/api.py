"""The public weight gradient of convolutions, its registration with ``torch.library``, and the
checks of its arguments."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmbsa.ops import dispatch
from mmbsa.ops.conv_weight_grad import native, reference
from mmbsa.ops.registration import CustomOp

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
    """Return the gradient of ``conv2d(x, weight, None, stride, padding, 1, groups)`` with respect
    to its weight.

    .. math::
        dW[o, c, i, j] =
            \\sum_{n, y, z} dY[n, o, y, z] \\, X[n, c, s_h y - p_h + i, s_w z - p_w + j]

    The implementation ``native`` supports channels-last float32 tensors on a CPU. It sums over
    blocks of positions in float32, and then adds the sums of the blocks. It is deterministic for a
    fixed number of threads. It multiplies by the zeros of the padding, so an infinite gradient at
    the border gives NaN for weights that overlap the padding; oneDNN's depth-wise kernel skips
    these products.

    Args:
        x: input (N, C, H, W) of the convolution, floating.
        grad: gradient (N, O, OH, OW) of the output, on the device and in the dtype of x; ``native``
            copies it if it is not channels-last.
        kernel_size: kh and kw in pixels, an int or a pair.
        stride: stride of the convolution in pixels, an int or a pair, positive; default 1.
        padding: number of zeros on each side in pixels, an int or a pair; default 0.
        groups: groups of the convolution; must divide C and O; default 1.
        memory_format: memory format of the result, that of the weight: contiguous (default) or
            channels-last.
        impl: ``'auto'`` (default) or one of ``implementations('conv_weight_grad')``.

    Returns:
        The gradient (O, C / groups, kh, kw) in the dtype of x. Double backward is not supported and
        raises an error.

    Raises:
        ValueError: a shape, dtype or option is not valid for a convolution; the message names the
            argument.
        RuntimeError: the implementation ``impl`` does not support this call; the message gives the
            reason.
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
    """Return the name of the implementation that ``'auto'`` chooses, before the gradient exists.

    Args:
        x: input (N, C, H, W) of the convolution.
        out_channels: O, the number of output channels.
        kernel_size: kh and kw in pixels.
        stride: vertical and horizontal stride in pixels.
        padding: vertical and horizontal padding in pixels.
        groups: groups of the convolution.
    """
    return dispatch.resolve(NAME, 'auto', x, out_channels, kernel_size, stride, padding, groups)


def pair(name: str, value: int | Sequence[int], least: int) -> list[int]:
    """Return an int or a pair of ints as a list of two ints.

    Args:
        name: name of the argument, for the message.
        value: an int, which gives two equal values, or a pair of ints.
        least: the smallest valid value.

    Raises:
        ValueError: ``value`` is something else, or is less than ``least``.
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
    """Raise a ValueError if ``grad`` cannot be the gradient of the output of a convolution of
    ``x``.

    Args:
        x: input (N, C, H, W).
        grad: gradient (N, O, OH, OW) of the output.
        kernel_size: kh and kw in pixels.
        stride: vertical and horizontal stride in pixels.
        padding: vertical and horizontal padding in pixels.
        groups: groups of the convolution.
    """
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
            f'{NAME}: groups must divide the {x.size(1)} channels of x and the {grad.size(1)} '
            f'channels of grad, got {groups}'
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


_OP = CustomOp(
    'conv_weight_grad(Tensor x, Tensor grad, int[2] kernel_size, int[2] stride, int[2] padding, '
    'int groups, '
    'bool channels_last, str impl) -> Tensor',
    _compute,
    _empty,
)
