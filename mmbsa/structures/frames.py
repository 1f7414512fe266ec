"""The frames of a recording; each frame is read when it is indexed."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class FrameSequence:
    """N frames of T sub-frames each; a frame is read when it is indexed.

    It is not a ``collections.abc.Sequence``, because OpenMMLab's collate functions would read and
    transpose it.

    Args:
        read: function from (source, index) to an array (T, H, W, 3) uint8 RGB; a module-level
            function or a bound method of a picklable object, so that worker processes can use it.
        source: first argument of ``read``, for example the recording's folder or its seed.
        length: number of frames N.
    """

    def __init__(self, read: Callable[[Any, int], np.ndarray], source: Any, length: int):
        self.read, self.source, self.length = read, source, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        if not -self.length <= index < self.length:
            raise IndexError(f'frame {index} of a recording with {self.length} frames')
        return self.read(self.source, index % self.length)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self.length))
