"""2-D convolution: right where oneDNN is not, its weight gradient by the fastest implementation at hand."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.ops import conv_weight_grad
from mmbsa.ops.conv_weight_grad import preferred


class _Convolution(torch.autograd.Function):
    """``torch.conv2d`` with :func:`mmbsa.ops.conv_weight_grad` in its backward."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, *options) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_sizes, ctx.options = None if bias is None else list(bias.shape), options
        stride, padding, groups = options
        return torch.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        stride, padding, groups = ctx.options
        needed = list(ctx.needs_input_grad[:3])
        # Gradients of gradients are torch's affair: ours has none.
        theirs = needed if torch.is_grad_enabled() else [needed[0], False, False]
        grads = [None] * 3
        if any(theirs):
            grads = list(torch.ops.aten.convolution_backward(grad, x, weight, ctx.bias_sizes, stride, padding, (1, 1), False,
                                                             (0, 0), groups, theirs))
        if needed[1] and not theirs[1]:
            grads[1] = conv_weight_grad(x, grad, weight.shape[2:], stride, padding, groups, memory_format=layout(weight))
        if needed[2] and not theirs[2]:  # oneDNN would compute the weight's along with it
            grads[2] = grad.sum((0, 2, 3))
        return *grads, None, None, None


def layout(weight: Tensor) -> torch.memory_format:
    """The layout that the weight's gradient should have: optimizers and DDP walk through both side by side."""
    last = not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def without_stride(x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
                   dilation: Sequence[int]) -> tuple[Tensor, Sequence[int], Sequence[int]]:
    """The same convolution without a stride, for the kinds of strided calls that oneDNN gets wrong on CPUs.

    * 1x1 kernels: the pixels that they see are taken first. oneDNN gathers them into a buffer that is too small where
      maps are channels-last and channels fill no whole vector: the weight's gradient is wrong and the heap corrupted.
    * bfloat16 with one output position along a side, where what lies outside of the map is read: padding is written out.

    Found by ``tools/dev/check_convolutions.py``; docs/reliability.md has the table. Forward calls without gradients take
    the same way, so that spikes do not depend on whether gradients are wanted. Exported graphs keep the stride.

    Args:
        x: (N, C, H, W) or (C, H, W).
        kernel, stride, padding, dilation: of the convolution, two ints each.

    Returns:
        Input, stride and padding of the call to make.
    """
    if x.device.type != 'cpu' or max(stride) == 1 or torch.jit.is_tracing() or torch.compiler.is_exporting():
        return x, stride, padding
    if max(kernel) == 1 and max(padding) == 0:
        return x[..., ::stride[0], ::stride[1]], (1, 1), padding
    if x.dtype != torch.bfloat16 and not torch.is_autocast_enabled('cpu'):
        return x, stride, padding
    stride, padding, margins = list(stride), list(padding), [0, 0, 0, 0]
    for side in (0, 1):
        size, window = x.size(side - 2), dilation[side] * (kernel[side] - 1) + 1
        before = padding[side]
        if stride[side] > 1 and 0 <= size + 2 * before - window < stride[side]:
            margins[2 - 2 * side:4 - 2 * side] = before, window - before - size
            stride[side], padding[side] = 1, 0
    return (nn.functional.pad(x, margins) if any(margins) else x), stride, padding


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sequence[int] = (1, 1),
           padding: Sequence[int] = (0, 0), dilation: Sequence[int] = (1, 1), groups: int = 1) -> Tensor:
    """:func:`torch.conv2d` with right gradients (:func:`without_stride`); the weight's is that of
    :func:`mmbsa.ops.conv_weight_grad` where that has something faster than torch for x, without dilation and outside
    autocast, ``torch.compile``, tracing and transforms of functions.

    Args:
        x: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        stride, padding, dilation: of the convolution, two ints each.
        groups: of the convolution.

    Returns:
        (N, O, OH, OW), or (O, OH, OW).
    """
    x, stride, padding = without_stride(x, weight.shape[2:], stride, padding, dilation)
    if (weight.requires_grad and torch.is_grad_enabled() and x.dim() == 4 and x.device.type == 'cpu'
            and x.dtype == weight.dtype == torch.float32 and max(dilation) == 1 and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled('cpu') and not torch.jit.is_tracing()
            and not torch._C._are_functorch_transforms_active()
            and preferred(x, weight.size(0), weight.shape[2:], stride, padding, groups) != 'reference'):
        return _Convolution.apply(x, weight, bias, stride, padding, groups)
    return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)


class Conv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d` through :func:`conv2d`; arguments, parameters and results are those of torch."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = (0, 0) if self.padding == 'valid' else self.padding
        if self.padding_mode != 'zeros':
            input = nn.functional.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            padding = (0, 0)
        elif padding == 'same':  # a stride is refused
            return super()._conv_forward(input, weight, bias)
        return conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


def init_convolutions(module: nn.Module) -> None:
    """Start all convolutions of a module as linear layers of transformers do: truncated normal, std 0.02, bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
