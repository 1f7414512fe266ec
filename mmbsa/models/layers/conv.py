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


def init_convolutions(module: nn.Module) -> None:
    """Start all convolutions of a module as linear layers of transformers do: truncated normal, std 0.02, bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
