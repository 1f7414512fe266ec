"""Files and folders that are written completely or not at all."""

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

#: largest number of temporary files of one target at a time.
MOST_WRITERS = 100
_FILE = os.O_WRONLY | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_BINARY', 0)
_FOLDER = os.O_RDONLY | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_DIRECTORY', 0)

#: reasons why the temporary file of another process cannot be opened: renamed, another user's,
#: link.
_TAKEN = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)


@contextmanager
def atomic_open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Context that opens a file for writing bytes and replaces ``path`` at the end.

    The bytes go to a temporary file in the same folder (created if needed). If the writing is
    interrupted, ``path`` keeps its old content and the temporary file is removed. After a SIGKILL
    the temporary file remains, with a name that starts with a dot and ends in ``.tmp``, until
    ``path`` is written again. Several processes may write the same file, because each has its own
    temporary file.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft, descriptor = _open_draft(path, folder=False)
        with os.fdopen(descriptor, 'wb') as file:  # closing the file releases the lock
            try:
                yield file
                file.flush()
                os.fsync(descriptor)
                if fcntl is None:  # Windows, which cannot rename an open file
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
    """Context that yields an empty folder, which is renamed to ``path`` at the end.

    Its files therefore appear together. After an interruption, the state is as with
    :func:`atomic_open`. If another process created ``path`` in the meantime, its files remain and
    the new ones are removed.
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
    """Context that adds ``path`` to errors that name no file, or only the temporary file."""
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

    Names have numbers from 0 on, and a writer locks its file. A file without a lock remains from a
    killed writer and is used again, so that their number is limited.
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
        # without locks (some network file systems) the owner is unknown, so only a new file is used
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
    """Lock a file until its descriptor is closed; return None on systems without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except (AttributeError, OSError):
        return None


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether a path still is an open file; another process may rename or delete it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    return False


def _sync(folder: Path) -> None:
    """Write the changed names in a folder to disk."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_output(out: str | os.PathLike, *inputs: str | os.PathLike, option: str = '--out') -> None:
    """Check that an output file is not one of the input files.

    Args:
        out: the file to write.
        inputs: the files to read.
        option: name of the option of ``out``, for the message; ``'--out'`` by default.

    Raises:
        ValueError: ``out`` is an input, also by another path, or a folder.
    """
    if os.path.isdir(out):
        raise ValueError(f'{option} {out} is a folder, expected the name of a file')
    for path in inputs:
        same = os.path.realpath(out) == os.path.realpath(path)
        if same or os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
            raise ValueError(f'{option} {out} would overwrite an input file')


def remove_drafts(folder: str | os.PathLike) -> list[Path]:
    """Delete the temporary files of killed writers in ``folder`` and return their paths.

    No process may write to the folder at the same time.
    """
    drafts = sorted(Path(folder).glob('.*.*.tmp'))
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return drafts


def lock_folder(folder: str | os.PathLike) -> BinaryIO | None:
    """Lock a folder against other processes until this process ends for any reason.

    Returns:
        The open ``in_use.lock`` of the folder, which the caller must keep; None on a system without
        locks.

    Raises:
        RuntimeError: another process has locked the folder; the message names its id if recorded.
    """
    if fcntl is None:
        return None
    path = Path(folder) / 'in_use.lock'
    file = open(path, 'a+b')
    try:
        # a record lock: data workers do not inherit it; they may outlive a killed process by
        # seconds
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read(100).decode(errors='replace').strip()
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None
        raise RuntimeError(
            f'{folder} is in use by another run ({owner or "unknown"}): wait until it ends, or use '
            'another work_dir'
        ) from None
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}'.encode())
    file.flush()
    return file
