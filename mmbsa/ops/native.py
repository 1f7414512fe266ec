"""C++ kernels for CPUs, compiled at their first use by the compiler of the machine.

The ``native.cpp`` of an op is plain C++ with ``extern "C"``, without headers of torch or Python. It
compiles in seconds and works with every version of torch. The library is kept in ``$MMBSA_CACHE``
(default: ``mmbsa`` in the user's cache folder). Its name depends on the sources, the flags, the
compiler and the processor, so that machines with a common home folder do not share code. A machine
without a compiler uses the other implementations of the op.

All functions have one calling convention: tensors are passed as pointers, ints and bools as
``int64_t``, floats as ``double``, and the number of threads comes last. The library uses the OpenMP
that torch has loaded, because two thread pools would compete for the cores.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ENV = 'MMBSA_CACHE'
#: The compiler creates no fused multiply-adds; the code calls them explicitly. Otherwise spikes
#: would depend on the processor.
FLAGS = (
    '-std=c++17',
    '-O3',
    '-march=native',
    '-fopenmp',
    '-fPIC',
    '-ffp-contract=off',
    '-fno-math-errno',
    '-fno-trapping-math',
    '-fvisibility=hidden',
)
HEADERS = Path(__file__).parent
_LOCK = threading.Lock()


class Library:
    """The functions of one C++ source file.

    Args:
        source: the ``.cpp`` file; it may include headers of its folder and ``native.hpp``.
    """

    def __init__(self, source: Path):
        self.source = source
        self._loaded: ctypes.CDLL | str | None = None  # a string is the reason of a failure
        self._entries: dict[tuple, Callable] = {}

    @torch.compiler.assume_constant_result
    def missing(self) -> str | None:
        """Return the reason why this machine cannot run the kernels, or None; the first call
        compiles them."""
        with _LOCK:
            if self._loaded is None:
                try:
                    self._loaded = _load(self.source)
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    self._loaded = str(error)
        return self._loaded if isinstance(self._loaded, str) else None

    def call(self, function: str, *args: Tensor | int | float) -> None:
        """Call ``function(*args, threads)``.

        Args:
            function: name of the function in the library.
            args: its arguments; tensors are passed as pointers.

        Raises:
            RuntimeError: the library cannot be compiled or loaded, or the function reports a
                failure; the message gives the reason.
        """
        types = tuple(map(type, args))
        entry = self._entries.get((function, types))
        if entry is None:
            entry = self._entries[function, types] = self._entry(function, *types)
        if entry(
            *[x.data_ptr() if isinstance(x, Tensor) else x for x in args], torch.get_num_threads()
        ):
            raise RuntimeError(f'{self.source.parent.name}: {function} ran out of memory')

    def _entry(self, function: str, *types: type) -> Callable:
        """Return the ctypes function for arguments of these types."""
        reason = self.missing()
        if reason is not None:
            raise RuntimeError(f'{self.source.parent.name}: {reason}')
        assert isinstance(self._loaded, ctypes.CDLL)
        entry = self._loaded[function]
        entry.restype = ctypes.c_int64
        entry.argtypes = [
            *(
                ctypes.c_void_p
                if issubclass(kind, Tensor)
                else ctypes.c_double
                if kind is float
                else ctypes.c_int64
                for kind in types
            ),
            ctypes.c_int64,
        ]
        return entry


def refuses_elementwise(x: Tensor) -> str | None:
    """Return the reason why an element-wise kernel does not support ``x``, or None; the ``refuses``
    of a dispatch entry."""
    if x.device.type != 'cpu':
        return f'the kernels run on the CPU, not on {x.device.type}'
    if x.dtype not in (torch.float32, torch.bfloat16):
        return f'the kernels support float32 and bfloat16, not {x.dtype}'
    return None


def compiler() -> str | None:
    """Return the path of the C++ compiler: ``$CXX``, or the first of c++, g++ and clang++; None if
    there is none."""
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++', 'clang++']
    return next(filter(None, map(shutil.which, names)), None)


def cache() -> Path:
    """Return the folder in which compiled libraries are kept."""
    chosen = os.environ.get(ENV)
    return (
        Path(chosen)
        if chosen
        else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmbsa'
    )


@functools.cache
def _scratch() -> Path:
    """Return a temporary folder of this process, for machines whose cache folder cannot be
    written."""
    return Path(tempfile.mkdtemp(prefix='mmbsa-'))


@functools.cache
def _processor() -> str:
    """Return a description of the processor features on which ``-march=native`` depends."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return ' '.join(
            dict.fromkeys(
                line
                for line in lines
                if line.startswith(('model', 'flags', 'Features', 'CPU part'))
            )
        )
    except OSError:
        return platform.processor() or platform.machine()


def _load(source: Path) -> ctypes.CDLL:
    cxx = compiler()
    if cxx is None:
        raise RuntimeError(
            f'there is no C++ compiler (searched {os.environ.get("CXX") or "c++, g++, clang++"})'
        )
    version = subprocess.run([cxx, '--version'], capture_output=True, text=True, timeout=60).stdout
    parts = [source, *sorted(HEADERS.glob('*.hpp')), *sorted(source.parent.glob('*.hpp'))]
    key = hashlib.sha256(
        '\0'.join([*(part.read_text() for part in parts), *FLAGS, version, _processor()]).encode()
    )
    name = f'{source.parent.name}-{key.hexdigest()[:20]}.so'
    try:
        folder = cache()
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        folder, writable = _scratch(), True
    if not (folder / name).exists():
        folder = folder if writable else _scratch()
        logging.getLogger('mmbsa').info('compiling %s', source)
        _compile(cxx, source, folder / name)
    return ctypes.CDLL(str(folder / name))


def _compile(cxx: str, source: Path, target: Path) -> None:
    """Compile a source file and write the library in one atomic step, because other processes may
    do the same."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.build-') as folder:
        unit, partial = Path(folder, 'unit.o'), Path(folder, target.name)
        # Linked without -fopenmp: torch has loaded the OpenMP symbols globally.
        for command in (
            [cxx, *FLAGS, f'-I{HEADERS}', '-c', str(source), '-o', str(unit)],
            [cxx, '-shared', str(unit), '-o', str(partial)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode:
                raise RuntimeError(
                    f'{" ".join(command)} failed: {(done.stderr or done.stdout)[-2000:]}'
                )
        partial.replace(target)
