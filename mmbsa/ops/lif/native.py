"""LIF in C++ on the CPU.

Forward reads x once and writes the spikes once; backward reads two tensors and writes one.
"""

from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.lif.common import SURROGATES, Parameters
from mmbsa.ops.native import Library, refuses_elementwise

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
refuses = refuses_elementwise


def forward(x: Tensor, v0: Tensor | None, spikes: Tensor, v: Tensor | None, p: Parameters) -> None:
    """Compute the forward in C++; arguments as in ``common``."""
    LIBRARY.call(
        'lif_forward',
        x,
        x.stride(0),
        _or_null(v0),
        spikes,
        _or_null(v),
        *x.shape,
        x.dtype == torch.bfloat16,
        *_numbers(p),
    )


def backward(
    grad: Tensor,
    grad_v: Tensor | None,
    x: Tensor,
    v0: Tensor | None,
    grad_x: Tensor,
    grad_v0: Tensor | None,
    p: Parameters,
) -> None:
    """Compute the backward in C++; arguments as in ``common``."""
    LIBRARY.call(
        'lif_backward',
        grad,
        *grad.stride(),
        _or_null(grad_v),
        x,
        x.stride(0),
        _or_null(v0),
        grad_x,
        _or_null(grad_v0),
        *x.shape,
        x.dtype == torch.bfloat16,
        *_numbers(p),
    )


def _or_null(x: Tensor | None) -> Tensor | int:
    return 0 if x is None else x


def _numbers(p: Parameters) -> tuple:
    """Return the parameters in the order of the kernels' arguments."""
    leak = 0 if p.tau is None else 1 if not p.decay_input else 2 if p.halves else 3
    return (
        float(p.tau or 1),
        float(p.v_threshold),
        float(p.rest),
        float(p.alpha),
        leak,
        SURROGATES.index(p.surrogate),
        p.v_reset is not None,
        p.signed,
        p.detach_reset,
    )
