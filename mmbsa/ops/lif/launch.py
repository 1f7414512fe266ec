"""Launches the Triton kernels of LIF; imports triton with the first launch."""

import torch
from torch import Tensor

from mmbsa.ops import triton_support
from mmbsa.ops.lif.common import Parameters


def refuses(x: Tensor) -> str | None:
    """Why the kernels cannot take a call, or None."""
    if x.dtype == torch.float64:
        return 'the kernels take float16, bfloat16 and float32, not float64'
    return triton_support.wrong_device(x)


def slower(x: Tensor) -> bool:
    """The interpreter is for checking, not for use."""
    return x.device.type == 'cpu'


def forward(x: Tensor, v0: Tensor | None, spikes: Tensor, v: Tensor | None, p: Parameters) -> None:
    """See ``common``."""
    from mmbsa.ops.lif import triton as kernel

    with triton_support.device_of(x):
        kernel.lif_fwd_kernel[_grid(x)](x, v0, spikes, v, **_scalars(x, p), **_modes(x, v0, p))


def backward(
    grad: Tensor,
    grad_v: Tensor | None,
    x: Tensor,
    v0: Tensor | None,
    grad_x: Tensor,
    grad_v0: Tensor | None,
    p: Parameters,
) -> None:
    """See ``common``."""
    from mmbsa.ops.lif import triton as kernel

    grad = grad.contiguous()  # that of a sum is one number, expanded
    charged = grad_x if x.dtype == torch.float32 else x.new_empty(x.shape, dtype=torch.float32)
    with triton_support.device_of(x):
        kernel.lif_bwd_kernel[_grid(x)](
            grad,
            grad_v,
            x,
            v0,
            charged,
            grad_x,
            grad_v0,
            **_scalars(x, p),
            **_modes(x, v0, p),
            alpha=p.alpha,
            DETACH=p.detach_reset,
            SURROGATE=p.surrogate,
        )


def _scalars(x: Tensor, p: Parameters) -> dict:
    return dict(
        n=x.size(1),
        stride=x.stride(0) if len(x) > 1 else 0,
        bucket=x.size(1).bit_length(),
        tau=p.tau or 1.0,
        threshold=p.v_threshold,
        rest=p.rest,
    )


def _modes(x: Tensor, v0: Tensor | None, p: Parameters) -> dict:
    return dict(
        T=len(x),
        LEAK=p.tau is not None,
        DECAY_INPUT=p.decay_input,
        HALVES=p.halves,
        HARD=p.v_reset is not None,
        SIGNED=p.signed,
        STATE=v0 is not None,
    )


def _grid(x: Tensor):
    """One program per block of neurons."""
    return lambda config: (-(-x.size(1) // config['BLOCK']),)
