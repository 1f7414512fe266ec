"""Max pooling that keeps two or four bytes per output for its backward instead of its input."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torch.nn.modules.utils import _pair

from mmbsa.models.layers.products import is_transformed
from mmbsa.spiking import mark, marked


class _MaxPool(torch.autograd.Function):
    """``max_pool2d``; the indices of the maxima take 16 bits for maps of at most 2^16 pixels."""

    @staticmethod
    def forward(x: Tensor, *options) -> tuple[Tensor, Tensor]:
        out, places = max_pool2d(x, *options, return_indices=True)
        return out, places.to(torch.int16 if x.shape[-2:].numel() <= 2**16 else torch.int32)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        x, *ctx.options = inputs
        ctx.like = x.shape, x.stride(), x.dtype
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx, grad: Tensor, unused):
        (places,) = ctx.saved_tensors
        wide = places.to(torch.int64)
        if places.dtype == torch.int16:
            wide.bitwise_and_(0xFFFF)
        shape, stride, dtype = ctx.like
        # Only its shape and layout are used.
        x = torch.empty_strided(shape, stride, dtype=dtype, device=grad.device)
        kernel, step, padding, dilation, ceil = ctx.options
        grad = torch.ops.aten.max_pool2d_with_indices_backward(
            grad, x, kernel, step, padding, dilation, ceil, wide
        )
        return grad, None, None, None, None, None


class MaxPool2d(nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` with the same results and gradients and less memory between
    forward and backward.

    The maximum of spikes is a spike of the same domain.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the maxima of the windows of an input (N, C, H, W) or (C, H, W)."""
        if self.return_indices:
            return super().forward(input)
        if is_transformed() or torch.compiler.is_compiling() or not input.requires_grad:
            return mark(super().forward(input), marked(input))
        options = [_pair(x) for x in (self.kernel_size, self.stride, self.padding, self.dilation)]
        return mark(_MaxPool.apply(input, *options, self.ceil_mode)[0], marked(input))
