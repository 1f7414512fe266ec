"""Files that appear whole or not at all."""

import errno
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


@contextmanager
def atomic_open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that takes the place of ``path`` only after it was written and
    synced.

    The bytes go to a temporary file in the same folder (made if needed). If anything interrupts the
    writing, ``path`` keeps its old content and the temporary file is removed; after a SIGKILL it
    stays, under a name that starts with a dot and ends in ``.tmp``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp')
    try:
        with open(draft, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk, for example, which names no file
        raise
    if os.name == 'posix':  # bring the rename itself to the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_drafts(folder: str | os.PathLike) -> list[Path]:
    """Delete what killed writers left in ``folder`` and return the deleted paths; call it while
    nobody writes there."""
    drafts = sorted(Path(folder).glob('.*.*.tmp'))
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return drafts


def lock_folder(folder: str | os.PathLike) -> BinaryIO | None:
    """Keep other processes from writing to a folder at the same time, until this process ends,
    however it does.

    Returns:
        The open ``in_use.lock`` of the folder, to be kept; None on a system without locks.

    Raises:
        RuntimeError: Another process has it; the message names its id, where it was written.
    """
    if fcntl is None:
        return None
    path = Path(folder) / 'in_use.lock'
    file = open(path, 'a+b')
    try:
        # a record lock: not inherited by data workers, which outlive a killed process by some
        # seconds
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read(100).decode(errors='replace').strip()
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None
        raise RuntimeError(
            f'{folder} is in use by another run ({owner or "unknown"}): wait for its end, or take '
            'another '
            'work_dir'
        ) from None
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}'.encode())
    file.flush()
    return file
