"""The ``mmbsa`` namespace of ``torch.library`` and what every op registered there needs."""
import functools
from collections.abc import Callable

import torch

#: Ops of the package live in ``torch.ops.mmbsa``; the object must outlive them.
LIBRARY = torch.library.Library('mmbsa', 'FRAGMENT')


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which sums and exponents of ``dtype`` data are kept: float64 for float64, float32 otherwise."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def without_autocast(kernel: Callable) -> Callable:
    """Run an op's kernel outside autocast, which would take its inner products to a lower precision.

    Dispatch passes autocast before it reaches a kernel, but leaves it switched on inside.
    """
    @functools.wraps(kernel)
    def wrapped(tensor, *args):
        device = tensor.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return kernel(tensor, *args)
        return kernel(tensor, *args)
    return wrapped


def refuse_double_backward(op: str) -> None:
    """Let gradients of gradients raise; without this the backward op would cut them off with a warning at most."""
    def backward(ctx, *grads):
        raise NotImplementedError(f'mmbsa::{op} has no gradient of its own: double backward is not implemented')

    torch.library.register_autograd(f'mmbsa::{op}', backward, lib=LIBRARY)
