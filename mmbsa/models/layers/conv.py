"""2-D convolution whose weight gradient is computed by the fastest implementation at hand."""
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


def strided_pointwise(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> bool:
    """Whether the weight gradient of this call must be kept away from oneDNN.

    oneDNN's 1x1 kernel gathers the pixels of a strided convolution into a buffer that is too small where maps are
    channels-last and channels fill no whole vector: wrong gradients, or a corrupted heap (docs/reliability.md). The
    same pixels, taken first, make a convolution of stride 1, which is right.
    """
    return (tuple(weight.shape[2:]) == (1, 1) and max(stride) > 1 and max(padding) == 0 and x.device.type == 'cpu'
            and weight.requires_grad and torch.is_grad_enabled())


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: tuple[int, int] = (1, 1),
           padding: tuple[int, int] = (0, 0), groups: int = 1) -> Tensor:
    """:func:`torch.conv2d` without dilation; the gradient to the weight is :func:`mmbsa.ops.conv_weight_grad` where that
    has something faster than torch for x, outside autocast, ``torch.compile``, tracing and transforms of functions.

    Args:
        x: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, kh, kw).
        bias: (O,) or None.
        stride, padding, groups: of the convolution.

    Returns:
        (N, O, OH, OW), or (O, OH, OW).
    """
    if strided_pointwise(x, weight, stride, padding):
        x, stride = x[..., ::stride[0], ::stride[1]], (1, 1)
    if (weight.requires_grad and torch.is_grad_enabled() and x.dim() == 4 and x.device.type == 'cpu'
            and x.dtype == weight.dtype == torch.float32 and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled('cpu') and not torch.jit.is_tracing()
            and not torch._C._are_functorch_transforms_active()
            and preferred(x, weight.size(0), weight.shape[2:], stride, padding, groups) != 'reference'):
        return _Convolution.apply(x, weight, bias, stride, padding, groups)
    return torch.conv2d(x, weight, bias, stride, padding, 1, groups)


class Conv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d`, trained through :func:`conv2d`; arguments, parameters and results are those of torch."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode == 'zeros' and self.dilation == (1, 1) and not isinstance(self.padding, str):
            return conv2d(input, weight, bias, self.stride, self.padding, self.groups)
        return super()._conv_forward(input, weight, bias)
