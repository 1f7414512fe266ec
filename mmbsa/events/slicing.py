"""Which frame an event belongs to."""
import numpy as np

from mmbsa.events.array import check_fields

RULES = ('number', 'time', 'duration')


def frame_index(events: np.ndarray, by: str, num_frames: int | None = None,
                duration: int | None = None) -> tuple[np.ndarray, int]:
    """Deal events to frames.

    * ``'number'``: ``num_frames`` frames of N // num_frames events each; the last one takes the rest. With fewer events
      than frames, one event per frame.
    * ``'time'``: ``num_frames`` frames of (t_max - t_min) // num_frames units of time; the last one takes the rest.
    * ``'duration'``: as many frames of ``duration`` units of time as the events need, at least one.

    Same slices as ``spikingjelly.datasets.integrate_events_by_fixed_frames_number`` and ``..._fixed_duration``, which
    cannot do with empty slices or a time span of zero; here such frames stay empty.

    Args:
        events: (N,) with the fields x, y, t, p; N may be 0. For ``'number'`` in the order of time.
        by: The rule.
        num_frames: Number of frames, for ``'number'`` and ``'time'``.
        duration: Length of a frame, for ``'duration'``, in the unit of t.

    Returns:
        The frame of every event, (N,) int64, and the number of frames T.

    Raises:
        ValueError: Another rule, or its argument is missing, not positive, or beside the other one.
    """
    check_fields(events)
    wanted, other = (duration, num_frames) if by == 'duration' else (num_frames, duration)
    name = 'duration' if by == 'duration' else 'num_frames'
    if by not in RULES:
        raise ValueError(f'by must be one of {RULES}, got {by!r}')
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or wanted < 1 or other is not None:
        raise ValueError(f'by={by!r} takes {name}, a positive integer, and nothing else; got num_frames={num_frames!r}, '
                         f'duration={duration!r}')
    count = len(events)
    if by == 'number':
        index = np.arange(count) // max(count // wanted, 1)
        return np.minimum(index, wanted - 1), wanted
    elapsed = events['t'].astype(np.int64)
    elapsed = elapsed - elapsed.min() if count else elapsed
    span = int(elapsed.max(initial=0))
    if by == 'time':
        return np.minimum(elapsed // max(span // wanted, 1), wanted - 1), wanted
    frames = max(-(-span // wanted), 1)  # an event at the very end of the last frame still belongs to it
    return np.minimum(elapsed // wanted, frames - 1), frames
