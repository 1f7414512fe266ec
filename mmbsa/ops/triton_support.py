"""Tests whether Triton kernels can run, without importing triton, which takes a second and may not
be installed.

With ``TRITON_INTERPRET=1`` in the environment (set before the first kernel is used) Triton runs
kernels in Python on CPU tensors. This is hundreds of times slower than the reference; it checks the
kernels on a machine without a GPU.
"""

import contextlib
import importlib.util
import os

import torch
from torch import Tensor

#: Whether the package triton is installed.
INSTALLED = importlib.util.find_spec('triton') is not None
#: Whether kernels run in Triton's interpreter; Triton reads the same variable once per kernel, when
#: it is defined.
INTERPRETED = os.environ.get('TRITON_INTERPRET', '').lower() in ('1', 'true', 'on', 'yes', 'y')


def missing() -> str | None:
    """Return the reason why this machine cannot run Triton kernels, or None; the ``missing`` of a
    dispatch entry."""
    if not INSTALLED:
        return 'the package triton is not installed'
    if not INTERPRETED and not torch.cuda.is_available():
        return (
            'there is no CUDA device (TRITON_INTERPRET=1 runs the kernels on the CPU, to check '
            'them)'
        )
    return None


def wrong_device(x: Tensor) -> str | None:
    """Return the reason why kernels cannot read the memory of ``x``, or None."""
    device = x.device.type
    if device == 'cuda' or device == 'cpu' and INTERPRETED:
        return None
    return f'the Triton kernels run on CUDA (on the CPU with TRITON_INTERPRET=1), not on {device}'


def device_of(x: Tensor):
    """Return a context in which kernels are launched on the device of ``x``."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
