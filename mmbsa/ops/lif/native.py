"""LIF in C++ on the CPU: one read of x and one write of spikes forward; two reads and one write backward."""
from pathlib import Path

import torch
from torch import Tensor

from mmbsa.ops.lif.common import SURROGATES, Parameters
from mmbsa.ops.native import Library, refuses_elementwise

LIBRARY = Library(Path(__file__).with_suffix('.cpp'))
missing = LIBRARY.missing
refuses = refuses_elementwise


def forward(x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    spikes = x.new_empty(x.shape)
    LIBRARY.call('lif_forward', x, x.stride(0), spikes, *x.shape, x.dtype == torch.bfloat16, *_numbers(p))
    return spikes


def backward(grad: Tensor, x: Tensor, p: Parameters) -> Tensor:
    """See ``common``."""
    out = x.new_empty(x.shape)
    LIBRARY.call('lif_backward', grad, *grad.stride(), x, x.stride(0), out, *x.shape, x.dtype == torch.bfloat16,
                 *_numbers(p))
    return out


def _numbers(p: Parameters) -> tuple:
    """What a kernel is told of the neuron, in its order."""
    leak = 0 if p.tau is None else 1 if not p.decay_input else 2 if p.halves else 3
    return (float(p.tau or 1), float(p.v_threshold), float(p.rest), float(p.alpha), leak, SURROGATES.index(p.surrogate),
            p.v_reset is not None, p.signed, p.detach_reset)
