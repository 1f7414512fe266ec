"""Memory of the process that the C library keeps instead of giving it back."""

import ctypes
import os

#: parameters of glibc's mallopt; values of freed memory kept, and the largest that glibc chooses by
#: itself on 64 bits.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = {_MMAP_THRESHOLD: 2**31 - 1, _TRIM_THRESHOLD: 2**31 - 1}
_DEFAULT = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep what CPU tensors free for the next ones, as PyTorch does on GPUs; for
    training on CPUs.

    glibc gives every block of 32 MiB back to the system when it is freed, and smaller ones at the
    end of its heap. Each training step then pays for the first touch of the same pages again, which
    is most of what an elementwise layer takes on a large map (figures: docs/kernels.md). The
    process keeps the memory of its largest step until it ends. What the user says in glibc's own
    variables (``MALLOC_*_``, ``GLIBC_TUNABLES``) is left alone.

    Args:
        keep: False gives back what was kept, and keeps no more; holes between blocks in use stay
            part of the heap, so that later blocks may still find a place there.

    Returns:
        Whether that is so from now on; False where the C library has no such switch, as outside of
        Linux, or the user has set it.
    """
    if any(name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES' for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        done = [
            library.mallopt(parameter, value)
            for parameter, value in (_KEPT if keep else _DEFAULT).items()
        ]
    except (AttributeError, OSError, TypeError):
        return False
    if not keep:
        library.malloc_trim(ctypes.c_size_t(0))
    return all(done)
