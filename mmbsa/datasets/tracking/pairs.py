"""Training pairs of tracking: a template frame and a later search frame."""

from collections.abc import Sequence

import numpy as np

#: sequences with smaller counts give no pairs (SDTrack's sampler).
MIN_VISIBLE, MIN_FRAMES = 5, 20
#: a frame is not sampled if the centre of its box is farther outside of the picture than this
#: factor times sqrt(w h): even a jittered search crop (side 4, centre up to 1.5 away, scale
#: exp(0.25 n)) does not reach so far.
REACH = 8


def visible_frames(boxes: np.ndarray, img_shape: Sequence[int] | None = None) -> np.ndarray:
    """Return (N,) bool: True for frames whose box has a size and is not far outside.

    Official trainings do not read the flags of absence. They sample frames whose box is far outside
    of the picture too, and then reject the pair, because its crops contain no target.

    Args:
        boxes: (N, 4) x, y, w, h in pixels.
        img_shape: (height, width) of the frames in pixels; None (default) does not compare
            positions.
    """
    boxes = np.asarray(boxes, np.float64)
    visible = (boxes[:, 2:] > 0).all(1)
    if img_shape is not None:
        centre, side = boxes[:, :2] + boxes[:, 2:] / 2, np.sqrt(np.maximum(boxes[:, 2:], 0).prod(1))
        away = np.maximum(-centre, centre - np.array(img_shape[::-1])).max(1)
        visible &= away <= REACH * side
    return visible


def can_train(visible: np.ndarray) -> bool:
    """Return whether a sequence has more than 4 visible frames and at least 20 frames."""
    return int(visible.sum()) >= MIN_VISIBLE and len(visible) >= MIN_FRAMES


def draw_pair(visible: np.ndarray, max_gap: int, rng=np.random) -> tuple[int, int]:
    """Draw a causal pair: a visible template frame, and a visible search frame after it.

    The template is uniform in [0, N - 1), the search frame in [template + 1, template + max_gap).
    As long as one is not visible, both are drawn again with a gap that is 5 larger.

    Args:
        visible: (N,) bool, from :func:`visible_frames`.
        max_gap: largest distance in frames, exclusive.
        rng: random generator: numpy's global one (default) or a ``RandomState``.

    Raises:
        ValueError: there are fewer than two visible frames, or ``max_gap`` is below 2.
    """
    if max_gap < 2:
        raise ValueError(f'max_gap must be at least 2, got {max_gap}')
    frames = np.flatnonzero(visible)
    if len(frames) < 2:
        raise ValueError(
            f'a pair needs two visible frames, there are {len(frames)} of {len(visible)}'
        )
    bases, gap = frames[frames < len(visible) - 1], max_gap
    while True:
        base = int(bases[rng.randint(len(bases))])
        later = frames[(frames > base) & (frames < base + gap)]
        if len(later):
            return base, int(later[rng.randint(len(later))])
        gap += 5
