"""The weight gradient of convolutions in C++ on the CPU, for channels-last tensors."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.native import Library

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing


def refuses(
    x: Tensor,
    out_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> str | None:
    """Return the reason why the kernels do not support a call, or None if they do; arguments as in
    ``preferred``."""
    if x.device.type != 'cpu':
        return f'the kernels run on the CPU, not on {x.device.type}'
    if x.dtype != torch.float32:
        return f'the kernels support float32, not {x.dtype}'
    if not x.is_contiguous(memory_format=torch.channels_last):
        found = f'strides {tuple(x.stride())} of {tuple(x.shape)}'
        return f'the kernels support channels-last tensors, not {found}'
    return None


def slower(
    x: Tensor,
    out_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> bool:
    """Return whether oneDNN is faster than these kernels.

    With AVX512 oneDNN runs at the full rate of the processor, except for depth-wise kernels. With
    AVX2 (Zen 3, 2 threads) oneDNN takes 1.2 to 7 times as long as these kernels, and for depth-wise
    kernels 1.6 to 27 times as long. For groups of 4 channels both take the same time; for groups of
    fewer channels (also a depth-wise kernel with a multiplier) oneDNN takes a third of the time.
    """
    inputs = x.size(1) // groups
    if groups == x.size(1) == out_channels and groups > 1:
        return False
    return _capability() != 'AVX2' or groups > 1 and inputs < 4


@torch.compiler.assume_constant_result
def _capability() -> str:
    return torch.backends.cpu.get_cpu_capability()


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
    shape = grad.size(1), x.size(1) // groups, *kernel_size
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    LIBRARY.call(
        'conv_weight_grad',
        x,
        grad.contiguous(memory_format=torch.channels_last),
        out,
        *x.shape,
        *grad.shape[1:],
        *kernel_size,
        *stride,
        *padding,
        groups,
        memory_format == torch.channels_last,
    )
    return out
