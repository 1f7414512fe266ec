"""Which files of a folder are data."""

import os
from collections.abc import Collection
from pathlib import Path


def visible_files(
    folder: str | os.PathLike, endings: Collection[str], recursive: bool = False
) -> list[Path]:
    """Return the files of a folder with one of some endings, sorted.

    Files and folders whose names begin with a dot are left out (macOS keeps a ``._name`` beside
    every file on foreign disks), and so are ``__MACOSX`` folders.

    Args:
        folder: Where to look.
        endings: Such as ``'.jpg'``; upper and lower case are the same.
        recursive: Look into folders too.
    """
    wanted = tuple(ending.lower() for ending in endings)
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders if recursive and name[0] != '.' and name != '__MACOSX'
        ]
        found += [
            Path(path, name) for name in files if name[0] != '.' and name.lower().endswith(wanted)
        ]
    return sorted(found)
