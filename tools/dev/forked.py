"""Functions in forked child processes with limits, to observe kills and crashes."""

import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def limit(memory: int | None = None, file_size: int | None = None) -> None:
    """Limit this process.

    Args:
        memory: bytes of address space in addition to the present ones; None for no limit.
        file_size: largest size in bytes of a written file; None for no limit.
    """
    if memory is not None:
        pages = int(Path('/proc/self/statm').read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf('SC_PAGE_SIZE') + memory,) * 2)
    if file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size,) * 2)


def fork(function: Callable, *args, log: str | os.PathLike | None = None) -> int:
    """Start a function in a child with its own session; return its process id.

    The child ends with 0, or with 1 after an exception, whose traceback is written to ``log`` with
    all output of the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
        function(*args)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        print(stop.code, file=sys.stderr)
    except BaseException:
        # torch's handler raises again for a data worker that ends while this prints
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """Wait for a child; return its exit code (negative: a signal), or None after ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill(child: int) -> None:
    """Send SIGKILL to a child and wait for it; its own children must notice by themselves."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def survivors(session: int, seconds: float = 15) -> list[int]:
    """Return the processes of a session that still run after at most ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for stat in Path('/proc').glob('[0-9]*/stat'):
            with suppress(OSError, ValueError, IndexError):
                fields = stat.read_text().rpartition(')')[2].split()
                if int(fields[3]) == session and fields[0] != 'Z':
                    found.append(int(stat.parent.name))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def run_cases(
    function: Callable[[int], Any], count: int, seconds: float = 60, memory: int = 4 << 30
) -> list[Any]:
    """Call ``function(0) ... function(count - 1)`` in children that may crash or hang.

    Args:
        function: function of the number of the case.
        count: number of cases.
        seconds: longest time per case; 60 by default.
        memory: limit in bytes of a child; 4 GiB by default.

    Returns:
        The result of each case; ``('crash', signal)`` or ``('hang', None)`` if there is none.
    """
    results: list[Any] = []
    while len(results) < count:
        reader, writer = os.pipe()
        first = len(results)

        def work(first=first, writer=writer):
            limit(memory)
            with os.fdopen(writer, 'wb') as pipe:
                for index in range(first, count):
                    pickle.dump(function(index), pipe)
                    pipe.flush()

        child = fork(work)
        os.close(writer)
        with os.fdopen(reader, 'rb', buffering=0) as pipe:  # select ignores buffered data
            while len(results) < count:
                if not select.select([pipe], [], [], seconds)[0]:
                    kill(child)
                    results.append(('hang', None))
                    break
                try:
                    results.append(pickle.load(pipe))
                except EOFError:
                    code = wait(child, seconds)
                    results.append(('crash', code))
                    break
            else:
                wait(child, seconds)
    return results


def naming(text: str) -> list[int]:
    """Return other processes whose command line contains ``text``."""
    found = []
    for file in Path('/proc').glob('[0-9]*/cmdline'):
        with suppress(OSError):
            if text.encode() in file.read_bytes() and int(file.parent.name) != os.getpid():
                found.append(int(file.parent.name))
    return found


def command(pid: int) -> str:
    """Return the command line of a process, or an empty text if it has ended."""
    with suppress(OSError):
        return Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode()[:200]
    return ''


def children(pid: int) -> list[int]:
    """Return the running child processes of a process."""
    found = []
    for file in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError, ValueError, IndexError):
            fields = file.read_text().rpartition(')')[2].split()
            if int(fields[1]) == pid and fields[0] != 'Z':
                found.append(int(file.parent.name))
    return sorted(found)
