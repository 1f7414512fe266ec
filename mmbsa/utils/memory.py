"""Peak memory of a call, and control of the freed memory that the C library keeps."""

import ctypes
import os
from collections.abc import Callable

import torch
from torch.autograd.profiler import profile

#: parameters of glibc's mallopt; values that keep freed memory, and the largest values that glibc
#: sets by itself on 64 bits.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = {_MMAP_THRESHOLD: 2**31 - 1, _TRIM_THRESHOLD: 2**31 - 1}
_DEFAULT = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_GIVEN_BACK = {_MMAP_THRESHOLD: 1 << 20, _TRIM_THRESHOLD: 1 << 20}


def keep_freed_memory(keep: bool = True) -> bool:
    """Make the C library keep freed memory of CPU tensors for later tensors.

    It is for training on CPUs; on GPUs PyTorch keeps memory itself. glibc returns every block of 32
    MiB to the system when it is freed, and smaller ones at the end of its heap. Each training step
    then accesses new pages for the first time again, which takes most of the time of an elementwise
    layer on a large map (figures: docs/kernels.md). The process keeps the memory of its largest
    step until it ends. Variables of glibc that the user sets (``MALLOC_*_``, ``GLIBC_TUNABLES``)
    have priority.

    Args:
        keep: True (default) keeps freed memory. False returns the kept memory and keeps no more;
            free blocks between used blocks remain part of the heap, so later tensors may still use
            them.

    Returns:
        Whether the setting is active; False if the C library has no such setting (outside of
        Linux), or if the user has set it.
    """
    return _set(_KEPT if keep else _DEFAULT, trim=not keep)


def give_back_freed_memory() -> bool:
    """Make the C library return every freed block of 1 MiB and more to the system at once.

    It is for training on CPUs with little memory. By default glibc increases this limit up to 32
    MiB as blocks are freed, and keeps smaller blocks in a heap whose free parts rarely fit the next
    tensor: the peak of a training step is 1.4 to 1.8 times the size of its tensors (figures:
    docs/kernels.md).

    Returns:
        Whether the setting is active; see :func:`keep_freed_memory`.
    """
    return _set(_GIVEN_BACK, trim=True)


def peak_memory(function: Callable[[], object], device: torch.device | str) -> int:
    """Return the bytes of tensors that one call allocates at its peak.

    Args:
        function: runs once.
        device: where it runs. On a GPU these are the allocations of PyTorch, on a CPU the
            allocations that its profiler records. Memory that the C library keeps is not included.

    Returns:
        Bytes in addition to those that were allocated before the call.
    """
    if torch.device(device).type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault('KINETO_LOG_LEVEL', '6')  # no lines about a missing GPU on stderr
    with profile(profile_memory=True) as record:
        function()
    held = peak = 0
    for event in record.kineto_results.events():
        if event.name() == '[memory]':
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def _set(values: dict[int, int], trim: bool) -> bool:
    if any(name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES' for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        done = [library.mallopt(parameter, value) for parameter, value in values.items()]
    except (AttributeError, OSError, TypeError):
        return False
    if trim:
        library.malloc_trim(ctypes.c_size_t(0))
    return all(done)
