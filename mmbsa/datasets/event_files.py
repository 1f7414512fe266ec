"""Search of event recordings in a folder."""

import os
from pathlib import Path

from mmbsa.events import read_events
from mmbsa.events.formats import ENDINGS
from mmbsa.utils.listing import visible_files

__all__ = ['ENDINGS', 'recordings', 'read_events']


def recordings(folder: str | os.PathLike) -> list[Path]:
    """Return the recordings in a folder, sorted, without hidden files; endings in any case.

    Args:
        folder: folder to search, without its subfolders.
    """
    return visible_files(folder, ENDINGS)
