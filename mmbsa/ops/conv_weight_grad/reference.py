"""PyTorch's own weight gradient of convolutions, computed by the library that PyTorch uses on the
device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def compute(
    x: Tensor,
    grad: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    memory_format: torch.memory_format,
) -> Tensor:
    """Return the weight gradient (O, C / groups, kh, kw) for an input (N, C, H, W) and a gradient
    (N, O, OH, OW)."""
    weight = x.new_empty(grad.size(1), x.size(1) // groups, *kernel_size)  # only its shape is used
    out = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), groups, (False, True, False)
    )[1]
    target = torch.empty(out.shape, dtype=out.dtype, device=out.device, memory_format=memory_format)
    return out if out.stride() == target.stride() else target.copy_(out)
