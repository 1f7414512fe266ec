"""Memory of the process that the C library keeps instead of giving it back."""

import ctypes
import os

#: parameters of glibc's mallopt; values of freed memory kept, and the largest that glibc chooses by
#: itself on 64 bits.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = {_MMAP_THRESHOLD: 2**31 - 1, _TRIM_THRESHOLD: 2**31 - 1}
_DEFAULT = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
_GIVEN_BACK = {_MMAP_THRESHOLD: 1 << 20, _TRIM_THRESHOLD: 1 << 20}


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
    return _set(_KEPT if keep else _DEFAULT, trim=not keep)


def give_back_freed_memory() -> bool:
    """Let the C library give every freed block of 1 MiB and more back to the system at once; for
    training on CPUs with little memory.

    By itself glibc raises that limit to 32 MiB as blocks are freed, and keeps smaller ones in a
    heap whose holes seldom fit the next tensor: the peak of a training step is 1.4 to 1.8 times
    what its tensors take (figures: docs/kernels.md).

    Returns:
        Whether that is so from now on; see :func:`keep_freed_memory`.
    """
    return _set(_GIVEN_BACK, trim=True)


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
