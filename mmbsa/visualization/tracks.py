"""Pictures of a track: boxes on frames, a video, a row of frames."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmbsa.visualization.overlay import FONT, write_image

#: RGB colours of predicted and true boxes.
PREDICTED, TRUE = (255, 220, 0), (0, 230, 90)


def draw_track(
    frame: np.ndarray,
    box: Sequence[float],
    true: Sequence[float] | None = None,
    text: str = '',
    least: int = 240,
) -> np.ndarray:
    """Draw boxes on a frame.

    Args:
        frame: (T, H, W, 3) uint8 RGB; the maximum over the sub-frames is shown.
        box: predicted box (4,) x, y, w, h in pixels.
        true: annotated box, or None (default); a box without area is not drawn.
        text: text in the upper left corner; empty by default.
        least: smaller frames are enlarged to about this height in pixels; 240 by default.

    Returns:
        RGB, uint8 (H', W', 3).
    """
    image = np.ascontiguousarray(frame.max(0))
    scale = max(1, round(least / image.shape[0]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    for corners, colour in ((true, TRUE), (box, PREDICTED)):
        if corners is not None and np.isfinite(corners).all() and corners[2] > 0 and corners[3] > 0:
            x, y, w, h = (scale * float(value) for value in corners)
            cv2.rectangle(image, (round(x), round(y)), (round(x + w), round(y + h)), colour, 2)
    if text:
        cv2.putText(image, text, (5, 16), FONT, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return image


class VideoFile:
    """A video file that appears under its name when it is closed, or not at all.

    Args:
        path: file with the ending ``.mp4`` or ``.avi``.
        rate: pictures per second, 25 by default.

    Attributes:
        written: number of pictures; 0 if OpenCV has no codec.
    """

    def __init__(self, path: str | os.PathLike, rate: float = 25.0):
        self.path, self.rate, self.written = Path(path), rate, 0
        self.draft = self.path.with_name(
            f'.{self.path.stem}.{secrets.token_hex(4)}{self.path.suffix}'
        )
        self.writer: cv2.VideoWriter | None = None

    def add(self, image: np.ndarray) -> None:
        """Append a picture, RGB uint8; all pictures must have one size."""
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter_fourcc(*('mp4v' if self.path.suffix == '.mp4' else 'MJPG'))
            self.writer = cv2.VideoWriter(str(self.draft), code, self.rate, image.shape[1::-1])
        if self.writer.isOpened():
            self.writer.write(np.ascontiguousarray(image[..., ::-1]))
            self.written += 1

    def close(self, keep: bool = True) -> bool:
        """Close the file and return whether the video exists now.

        Args:
            keep: False removes the video; True by default.
        """
        if self.writer is not None:
            self.writer.release()
        done = keep and self.written > 0 and self.draft.is_file()
        if done:
            os.replace(self.draft, self.path)
        else:
            self.draft.unlink(missing_ok=True)
        return done


class Strip:
    """At most ``count`` pictures, evenly spaced over a stream of unknown length.

    Args:
        count: largest number of pictures, at least 2; 8 by default.

    Raises:
        ValueError: ``count`` is below 2.
    """

    def __init__(self, count: int = 8):
        if count < 2:
            raise ValueError(f'a strip needs at least 2 pictures, got {count}')
        self.count, self.every, self.seen, self.kept = count, 1, 0, []

    def add(self, image: np.ndarray) -> None:
        """Add a picture of the stream; each n-th is kept, with a larger n as the stream grows."""
        if self.seen % self.every == 0:
            self.kept.append(image)
            if len(self.kept) == 2 * self.count:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.seen += 1

    def write(self, path: str | os.PathLike, columns: int = 4) -> None:
        """Write the pictures in rows of ``columns`` (default 4), completely or not at all.

        Args:
            path: picture file to write.
            columns: pictures per row, 4 by default.
        """
        chosen = [
            self.kept[index]
            for index in np.unique(
                np.linspace(0, len(self.kept) - 1, min(self.count, len(self.kept)))
                .round()
                .astype(int)
            )
        ]
        blank = np.zeros_like(chosen[0])
        chosen += [blank] * (-len(chosen) % columns if len(chosen) > columns else 0)
        rows = [
            np.hstack(chosen[start : start + columns]) for start in range(0, len(chosen), columns)
        ]
        write_image(path, np.vstack(rows))
