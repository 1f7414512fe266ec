"""2-D convolution that avoids oneDNN's wrong results, uses the fastest weight gradient, and keeps
spikes as bytes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.layers.products import (
    is_transformed,
    keeps_bytes,
    once_only,
    unpack,
    without_autocast,
)
from mmbsa.ops import conv_weight_grad
from mmbsa.ops.bytes import is_power_of_two
from mmbsa.ops.conv_weight_grad import preferred
from mmbsa.ops.registration import Differentiable
from mmbsa.spiking import carry

HALVES = torch.bfloat16, torch.float16


class _Convolution(torch.autograd.Function):
    """``torch.conv2d`` that keeps spikes as bytes for its backward and may use
    :func:`mmbsa.ops.conv_weight_grad`.

    ``counts`` are the bytes of x, ``unit`` is the value of one spike and the dtype of x; both are
    None for real-valued x. ``ours`` selects our weight gradient.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, counts: Tensor | None, *options
    ) -> Tensor:
        stride, padding, dilation, groups, _, _ = options
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, weight, bias, counts, *ctx.options = inputs
        ctx.dtype = x.dtype
        ctx.save_for_backward(x if counts is None else counts, weight)
        ctx.bias_sizes = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups, unit, ours = ctx.options
        needed = list(ctx.needs_input_grad[:3])
        # Second derivatives are computed by torch, because our weight gradient has none.
        second = torch.is_grad_enabled()
        factor = 1.0
        if unit and needed[1]:
            if not second and is_power_of_two(unit[0]):  # exact in either order
                factor, unit = unit[0], (1.0, unit[1])
            x = unpack(x, *unit, ctx.dtype)
        elif unit:  # its values are not used
            x = torch.empty_like(x, dtype=ctx.dtype)
        if unit and second:
            once = once_only(x, weight)
            x_grad, rest = ([needed[0], False, False], x), ([False, *needed[1:]], once)
            calls = [x_grad, rest]
        else:
            calls = [([needed[0], False, False] if ours and not second else needed, x)]
        theirs, grads = [False] * 3, [None] * 3
        for mask, operand in calls:
            if not any(mask):
                continue
            found = torch.ops.aten.convolution_backward(
                grad,
                operand,
                weight,
                ctx.bias_sizes,
                stride,
                padding,
                dilation,
                False,
                (0, 0),
                groups,
                mask,
            )
            theirs = [a or b for a, b in zip(theirs, mask)]
            grads = [new if wanted else old for new, old, wanted in zip(found, grads, mask)]
        if needed[1] and not theirs[1]:
            grads[1] = conv_weight_grad(
                x, grad, weight.shape[2:], stride, padding, groups, memory_format=layout(weight)
            )
        if factor != 1:
            grads[1] = grads[1] * factor
        if needed[2] and not theirs[2]:  # oneDNN would also compute the weight's gradient
            grads[2] = grad.sum((0, 2, 3))
        return *grads, *[None] * 7


_CONVOLUTION = Differentiable(_Convolution)


def layout(weight: Tensor) -> torch.memory_format:
    """Return the memory format of the weight's gradient, which is that of the weight, as optimizers
    and DDP need."""
    last = not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def wrong_in_bfloat16(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> bool:
    """Return whether oneDNN computes a call wrongly in bfloat16 on processors with bfloat16.

    ``tools/dev/check_convolutions.py`` found two cases: a stride with only one output position
    along that side, and dilation with groups; docs/reliability.md has the table.

    Args:
        x: input (N, C, H, W).
        kernel: height and width of the kernel in pixels.
        stride: vertical and horizontal stride in pixels.
        padding: vertical and horizontal padding in pixels.
        dilation: vertical and horizontal dilation in pixels.
        groups: groups of the convolution.
    """
    if x.dtype not in HALVES and not (
        x.dtype == torch.float32 and torch.is_autocast_enabled('cpu')
    ):
        return False
    if groups > 1 and max(dilation) > 1:
        return True
    return any(
        s > 1 and size + 2 * p - d * (k - 1) - 1 < s
        for size, k, s, p, d in zip(x.shape[-2:], kernel, stride, padding, dilation)
    )


def in_float32(x: Tensor, weight: Tensor, bias: Tensor | None, *options) -> Tensor:
    """Compute :func:`torch.conv2d` of half-precision operands, or under autocast, in float32, and
    round the result once."""
    dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
    with torch.autocast('cpu', enabled=False):
        x, weight = x.to(dtype).float(), weight.to(dtype).float()
        return torch.conv2d(
            x, weight, None if bias is None else bias.to(dtype).float(), *options
        ).to(dtype)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Compute :func:`torch.conv2d` without oneDNN's wrong results and with a faster weight
    gradient.

    The gradient of the weight comes from :func:`mmbsa.ops.conv_weight_grad` if that has an
    implementation that is faster than torch for x. Torch computes it with dilation, under autocast
    and ``torch.compile``, in tracing and in function transforms.

    On CPUs, the input of a strided 1x1 kernel is first reduced to the pixels that it uses. oneDNN
    would write past its buffer for channels-last maps with few channels: the weight's gradient is
    then wrong, or memory is corrupted. Calls of :func:`wrong_in_bfloat16` are computed in float32.
    Forward calls without gradients do the same, so that spikes do not depend on whether gradients
    are computed. Exported graphs contain the plain call.

    Spikes that a neuron has marked (:mod:`mmbsa.spiking.marks`) are kept as bytes for the backward;
    output and gradients have the same bits as without. A second derivative through the weight's
    gradient then raises NotImplementedError.

    Args:
        x: input (N, C, H, W) or (C, H, W).
        weight: weight (O, C / groups, kh, kw).
        bias: bias (O,), or None (default).
        stride: vertical and horizontal stride in pixels; default (1, 1).
        padding: vertical and horizontal padding in pixels; default (0, 0).
        dilation: vertical and horizontal dilation in pixels; default (1, 1).
        groups: groups of the convolution; default 1.

    Returns:
        The output (N, O, OH, OW), or (O, OH, OW).
    """
    if x.device.type == 'cpu' and not torch.jit.is_tracing() and not torch.compiler.is_exporting():
        kernel = weight.shape[2:]
        if max(stride) > 1 and max(kernel) == 1 and max(padding) == 0:
            # Dense, so that the same kernel runs with and without bytes.
            x, stride = carry(x[..., :: stride[0], :: stride[1]].clone(), x), (1, 1)
        if wrong_in_bfloat16(x, kernel, stride, padding, dilation, groups):
            return in_float32(x, weight, bias, stride, padding, dilation, groups)
    trained = weight.requires_grad and torch.is_grad_enabled() and x.dim() == 4
    kept = keeps_bytes(x) if trained else None
    ours = (
        trained
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and max(dilation) == 1
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled('cpu')
        and not is_transformed()
        and preferred(x, weight.size(0), weight.shape[2:], stride, padding, groups) != 'reference'
    )
    if kept is None and not ours:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    counts, unit = (None, None) if kept is None else (kept[0], (kept[1], x.dtype))
    options = stride, padding, dilation, groups, unit, ours
    return without_autocast(_CONVOLUTION, x, weight, bias, options=(counts, *options))


class Conv2d(nn.Conv2d):
    """2-D convolution layer that avoids PyTorch's wrong gradients on CPUs, see :func:`conv2d`.

    Arguments, parameters and results are those of :class:`torch.nn.Conv2d`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = (0, 0) if self.padding == 'valid' else self.padding
        if self.padding_mode != 'zeros' or padding == 'same':
            mode = 'constant' if self.padding_mode == 'zeros' else self.padding_mode
            input, padding = (
                nn.functional.pad(input, self._reversed_padding_repeated_twice, mode),
                (0, 0),
            )
        return conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


def init_convolutions(module: nn.Module) -> None:
    """Initialise all convolutions of a module like the linear layers of transformers: truncated
    normal, std 0.02, bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
