"""Memory of the process that the C library keeps instead of giving it back."""
import ctypes
import os

#: parameters of glibc's mallopt, and the largest value that its ints hold.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what CPU tensors free for the next ones, as PyTorch does on GPUs; for training on CPUs.

    glibc gives every block of 32 MiB back to the system when it is freed, and smaller ones at the end of its heap. Each
    training step then pays for the first touch of the same pages again, which is most of what an elementwise layer takes
    on a large map (figures: docs/kernels.md). The process keeps the memory of its largest step until it ends. What the user
    says in glibc's own variables (``MALLOC_*_``, ``GLIBC_TUNABLES``) is left alone.

    Returns:
        Whether freed memory is kept from now on; False where the C library has no such switch, as outside of Linux, or the
        user has set it.
    """
    if any(name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES' for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(_MMAP_THRESHOLD, _LARGEST), mallopt(_TRIM_THRESHOLD, _LARGEST)])
