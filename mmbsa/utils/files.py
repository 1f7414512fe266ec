"""Files that appear whole or not at all."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

#: temporary files of one target at a time.
MOST_WRITERS = 100
_FILE = os.O_WRONLY | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_BINARY', 0)
_FOLDER = os.O_RDONLY | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_DIRECTORY', 0)

#: why another's temporary file cannot be opened: renamed by now, another user's, a link.
_TAKEN = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)


@contextmanager
def atomic_open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that takes the place of ``path`` only after it was written and
    synced.

    The bytes go to a temporary file in the same folder (made if needed). If anything interrupts the
    writing, ``path`` keeps its old content and the temporary file is removed; after a SIGKILL it
    stays, under a name that starts with a dot and ends in ``.tmp``, until ``path`` is written
    again. Several processes may write the same file: each writes a temporary file of its own.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft, descriptor = _open_draft(path, folder=False)
        with os.fdopen(descriptor, 'wb') as file:  # closing it frees the lock
            try:
                yield file
                file.flush()
                os.fsync(descriptor)
                if fcntl is None:  # Windows, which renames no open file
                    file.close()
                os.replace(draft, path)
            except BaseException:
                if fcntl is None:
                    file.close()
                draft.unlink(missing_ok=True)
                raise
    _sync(path.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Make a folder whose files appear together: yields an empty one that takes the name ``path``
    in the end.

    Interruptions leave what :func:`atomic_open` leaves. Where another process made ``path`` in the
    meantime, its files stay and these are dropped.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft, descriptor = _open_draft(path, folder=True)
        try:
            yield draft
            try:
                os.replace(draft, path)
            except OSError:
                if not path.is_dir():
                    raise
                shutil.rmtree(draft)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        finally:
            os.close(descriptor)
    _sync(path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors that name no file, such as a full disk, or only the temporary one, name
    ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (
            error.filename is None
            or str(error.filename).startswith(str(path.with_name(f'.{path.name}.')))
        ):
            error.filename = str(path)
        raise


def _open_draft(path: Path, folder: bool) -> tuple[Path, int]:
    """Return the name and the descriptor of an empty temporary file or folder for ``path``.

    Names are counted up from 0, and a writer locks the one that it has. One that is not locked was
    left by a killed writer, and is taken over: so they do not pile up.
    """
    for number in range(MOST_WRITERS):
        draft, new = path.with_name(f'.{path.name}.{number}.tmp'), True
        try:
            draft.mkdir() if folder else draft.touch(exist_ok=False)
        except FileExistsError:
            new = False
        try:
            descriptor = os.open(draft, _FOLDER if folder else _FILE)
        except OSError as error:
            if error.errno in _TAKEN:
                continue
            raise
        # without locks (some network file systems) the owner is unknown, but a new one is ours
        locked = _lock(descriptor)
        if (locked or new and locked is None) and _is_at(draft, descriptor):
            for old in draft.iterdir() if folder else ():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            if not folder:
                os.ftruncate(descriptor, 0)
            return draft, descriptor
        os.close(descriptor)
    raise FileExistsError(errno.EEXIST, f'{MOST_WRITERS} temporary files are in use', str(path))


def _lock(descriptor: int) -> bool | None:
    """Lock a file until its descriptor is closed; None on systems without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except (AttributeError, OSError):
        return None


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to an open file: another process may have renamed or deleted
    it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    return False


def _sync(folder: Path) -> None:
    """Bring a change of names in a folder to the disk."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_output(out: str | os.PathLike, *inputs: str | os.PathLike, option: str = '--out') -> None:
    """Refuse to write over a file that is read.

    Args:
        out: The file to write.
        inputs: The files to read.
        option: How the user names ``out``, for the message.

    Raises:
        ValueError: ``out`` is one of them, also by another path, or a folder.
    """
    if os.path.isdir(out):
        raise ValueError(f'{option} {out} is a folder, expected the name of a file')
    for path in inputs:
        same = os.path.realpath(out) == os.path.realpath(path)
        if same or os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
            raise ValueError(f'{option} {out} would write over a file that is read')


def remove_drafts(folder: str | os.PathLike) -> list[Path]:
    """Delete the temporary files of killed writers in ``folder`` and return their paths; call it
    while no process writes there."""
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
