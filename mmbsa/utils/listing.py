"""Listing of the data files in a folder."""

import os
from collections.abc import Collection
from pathlib import Path


def visible_files(
    folder: str | os.PathLike, endings: Collection[str], recursive: bool = False
) -> list[Path]:
    """Return the files of a folder with one of the given endings, sorted.

    Files and folders whose names begin with a dot are ignored (macOS writes a ``._name`` file next
    to every file on foreign disks), and so are ``__MACOSX`` folders.

    Args:
        folder: folder to search.
        endings: endings such as ``'.jpg'``, in upper or lower case.
        recursive: whether to search subfolders; False by default.
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
