"""Files that appear whole or not at all."""
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that takes the place of ``path`` only after it was written and synced.

    The bytes go to a temporary file in the same folder (made if needed). If anything interrupts the writing, ``path``
    keeps its old content and the temporary file is removed; after a SIGKILL it stays, under a name that starts with a
    dot and ends in ``.tmp``.
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
    """Delete what killed writers left in ``folder`` and return the deleted paths; call it while nobody writes there."""
    drafts = sorted(Path(folder).glob('.*.*.tmp'))
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return drafts
