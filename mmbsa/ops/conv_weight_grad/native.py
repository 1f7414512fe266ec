"""The weight gradient in C++ on the CPU, over channels-last maps."""

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
    """Why a call cannot be taken, or None."""
    if x.device.type != 'cpu':
        return f'the kernels run on the CPU, not on {x.device.type}'
    if x.dtype != torch.float32:
        return f'the kernels take float32, not {x.dtype}'
    if not x.is_contiguous(memory_format=torch.channels_last):
        found = f'strides {tuple(x.stride())} of {tuple(x.shape)}'
        return f'the kernels take channels-last maps, not {found}'
    return None


def slower(
    x: Tensor,
    out_channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
) -> bool:
    """Whether oneDNN is faster.

    It runs at the processor's full rate where it has AVX512, but for depth-wise kernels. With AVX2
    (Zen 3, 2 threads) it takes 1.2 to 7 times as long as these kernels, depth-wise 1.6 to 27 times;
    in groups of 4 channels as long, and in groups of fewer, to which a depth-wise kernel with a
    multiplier belongs, a third.
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
    """(N, C, H, W) and (N, O, OH, OW) -> (O, C / groups, kh, kw)."""
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
