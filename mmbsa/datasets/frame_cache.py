"""Integrated frames on disk: made once, found again only under exactly the same parameters."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmbsa.utils.files import atomic_open

#: part of every key: raise it when integration changes
VERSION = 2


class FrameCache:
    """Frames of counts, one file per recording.

    The folder's name is a hash of all parameters. A file appears whole or not at all (a temporary
    file takes its name when it was written and synced), so readers, parallel workers and killed
    processes cannot see a part of one. A file made from another version of the recording (size or
    time of change), or damaged, is made anew.

    Args:
        root: Folder of all caches.
        parameters: All that the frames depend on beside the recording; must be JSON.
    """

    def __init__(self, root: str | os.PathLike, parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters, version=VERSION)
        text = json.dumps(self.parameters, sort_keys=True)
        self.folder = Path(root).expanduser() / hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, recording: str | os.PathLike, part: int | None = None) -> Path:
        """Return where the frames of a recording lie; ``part`` is its number in a file of many."""
        absolute = os.path.abspath(recording) + ('' if part is None else f'#{part}')
        digest = hashlib.sha256(absolute.encode()).hexdigest()
        return self.folder / digest[:2] / f'{Path(recording).stem}-{digest[:16]}.npz'

    def get(
        self, recording: str | os.PathLike, make: Callable[[], np.ndarray], part: int | None = None
    ) -> np.ndarray:
        """Return the frames of a recording, from the disk or from ``make``.

        ``make`` returns counts >= 0 of any shape.
        """
        status = os.stat(recording)
        stamp = np.array([status.st_size, status.st_mtime_ns])
        path = self.path(recording, part)
        frames = self._read(path, stamp)
        if frames is None:
            frames = make()
            frames = frames.astype(np.min_scalar_type(int(frames.max(initial=0))))
            self._describe()
            content = io.BytesIO()
            np.savez_compressed(content, frames=frames, stamp=stamp)
            with atomic_open(path) as file:
                file.write(content.getbuffer())
        return frames

    @staticmethod
    def _read(path: Path, stamp: np.ndarray) -> np.ndarray | None:
        try:
            with np.load(path) as stored:
                return stored['frames'] if np.array_equal(stored['stamp'], stamp) else None
        except FileNotFoundError:
            return None
        except Exception:  # zip, zlib and numpy have many for a damaged file, which is made anew
            return None

    def _describe(self) -> None:
        """Leave the parameters beside the frames, for whoever wonders what a folder is."""
        path = self.folder / 'parameters.json'
        if not path.exists():
            with atomic_open(path) as file:
                file.write(json.dumps(self.parameters, indent=1, sort_keys=True).encode())
