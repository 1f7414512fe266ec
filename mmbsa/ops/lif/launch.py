"""Launch the Triton kernels of LIF; the first launch imports triton."""

import torch
from torch import Tensor

from mmbsa.ops import triton_support
from mmbsa.ops.lif.common import Parameters


def refuses(x: Tensor) -> str | None:
    """Return the reason why the kernels do not support a call, or None if they do."""
    if x.dtype == torch.float64:
        return 'the kernels support float16, bfloat16 and float32, not float64'
    return triton_support.wrong_device(x)


def slower(x: Tensor) -> bool:
    """Return True for CPU tensors, where Triton's interpreter runs, which is only for checks."""
    return x.device.type == 'cpu'


def forward(x: Tensor, v0: Tensor | None, spikes: Tensor, v: Tensor | None, p: Parameters) -> None:
    """Compute the forward with Triton kernels; arguments as in ``common``."""
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
    """Compute the backward with Triton kernels; arguments as in ``common``."""
    from mmbsa.ops.lif import triton as kernel

    grad = grad.contiguous()  # the gradient of a sum is one expanded number
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
    """Return a grid of one program per block of neurons."""
    return lambda config: (-(-x.size(1) // config['BLOCK']),)
