"""The door to the Triton kernels: says when they can be asked, launches them, imports triton only then."""
import contextlib

import torch
from torch import Tensor

from mmbsa.ops import kernels
from mmbsa.ops.lif.common import Parameters


def refuses(x: Tensor) -> str | None:
    """Why the kernels cannot take a call, or None."""
    if x.dtype == torch.float64:
        return 'the kernels take float16, bfloat16 and float32, not float64'
    return kernels.wrong_device(x)


def slower(x: Tensor) -> bool:
    """The interpreter is for checking, not for use."""
    return x.device.type == 'cpu'


def forward(x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    from mmbsa.ops.lif import triton as kernel
    spikes = x.new_empty(x.shape)
    with _on(x):
        kernel.lif_fwd_kernel[_grid(x)](x, spikes, **_scalars(x, p), **_modes(x, p))
    return spikes


def backward(grad: Tensor, x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    from mmbsa.ops.lif import triton as kernel
    grad = grad.contiguous()  # that of a sum is one number, expanded
    out = x.new_empty(x.shape)
    charged = out if x.dtype == torch.float32 else x.new_empty(x.shape, dtype=torch.float32)
    with _on(x):
        kernel.lif_bwd_kernel[_grid(x)](grad, x, charged, out, **_scalars(x, p), **_modes(x, p), alpha=p.alpha,
                                        DETACH=p.detach_reset, SURROGATE=p.surrogate)
    return out


def _scalars(x: Tensor, p: Parameters) -> dict:
    return dict(n=x.size(1), stride=x.stride(0) if len(x) > 1 else 0, bucket=x.size(1).bit_length(),
                tau=p.tau or 1., threshold=p.v_threshold, rest=p.rest)


def _modes(x: Tensor, p: Parameters) -> dict:
    return dict(T=len(x), LEAK=p.tau is not None, DECAY_INPUT=p.decay_input, HALVES=p.halves,
                HARD=p.v_reset is not None, SIGNED=p.signed)


def _grid(x: Tensor):
    """One program per block of neurons."""
    return lambda config: (-(-x.size(1) // config['BLOCK']),)


def _on(x: Tensor):
    """Launches go to the current device, which may be another one than x's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
