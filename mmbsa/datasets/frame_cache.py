"""Cache of integrated event frames on disk, keyed by all parameters."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmbsa.utils.files import atomic_open

#: version in every key: increase it when integration changes
VERSION = 2


class FrameCache:
    """Cache of count frames with one file per recording.

    The name of the folder is a hash of all parameters. A file is first written under a temporary
    name, synced and then renamed, so no reader or parallel worker finds a partial file, also after
    a process was killed. A file is written again if it is damaged or if the recording has changed
    (size or modification time).

    Args:
        root: folder of all caches.
        parameters: all values besides the recording that determine the frames; must be JSON.
    """

    def __init__(self, root: str | os.PathLike, parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters, version=VERSION)
        text = json.dumps(self.parameters, sort_keys=True)
        self.folder = Path(root).expanduser() / hashlib.sha256(text.encode()).hexdigest()[:16]

    def path(self, recording: str | os.PathLike, part: int | None = None) -> Path:
        """Return the file of the frames of a recording.

        Args:
            recording: path of the recording.
            part: number of the recording in a file with several recordings; None (default) for one.
        """
        absolute = os.path.abspath(recording) + ('' if part is None else f'#{part}')
        digest = hashlib.sha256(absolute.encode()).hexdigest()
        return self.folder / digest[:2] / f'{Path(recording).stem}-{digest[:16]}.npz'

    def get(
        self, recording: str | os.PathLike, make: Callable[[], np.ndarray], part: int | None = None
    ) -> np.ndarray:
        """Return the frames of a recording, from the disk or from ``make``.

        Args:
            recording: path of the recording.
            make: function that returns counts >= 0 of any shape.
            part: number of the recording in a file with several recordings; None (default) for one.
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
        except Exception:  # zip, zlib and numpy raise many types for a damaged file
            return None

    def _describe(self) -> None:
        """Write the parameters into the folder, so that a user can identify it."""
        path = self.folder / 'parameters.json'
        if not path.exists():
            with atomic_open(path) as file:
                file.write(json.dumps(self.parameters, indent=1, sort_keys=True).encode())
