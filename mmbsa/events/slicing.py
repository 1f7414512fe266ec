"""Division of recordings: by number of events, by time, by the times of frames."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from mmbsa.events.array import EVENT_DTYPE, as_events

RULES = ('number', 'time', 'duration', 'timestamps')
#: largest number of frames of a recording
MAX_FRAMES = 2**24
#: longest time without events in a stream that is divided by duration, in microseconds: 10 minutes
MAX_GAP = 600_000_000
#: rule -> the name of its argument
ARGUMENTS = dict(
    number='num_frames', time='num_frames', duration='duration', timestamps='timestamps'
)


def check_timestamps(timestamps: ArrayLike, empty: bool = False) -> np.ndarray:
    """Return the K + 1 borders of K windows as int64, or raise ValueError unless they increase.

    Args:
        timestamps: the borders in microseconds.
        empty: whether two borders may be equal; False by default.
    """
    borders = np.asarray(timestamps)
    if borders.ndim != 1 or len(borders) < 2 or borders.dtype.kind not in 'iu':
        raise ValueError(
            'timestamps must be at least two whole numbers (microseconds), got '
            f'{borders.dtype} of shape {borders.shape}'
        )
    borders = borders.astype(np.int64)
    falls = np.diff(borders) < (0 if empty else 1)
    if falls.any():
        place = int(np.argmax(falls))
        raise ValueError(
            f'timestamps must increase; number {place + 1} is {borders[place + 1]} '
            f'after {borders[place]}'
        )
    return borders


def split_windows(timestamps: ArrayLike, num_steps: int) -> np.ndarray:
    """Divide each of K windows into parts of equal length.

    Args:
        timestamps: the K + 1 borders in microseconds.
        num_steps: number of parts T per window.

    Returns:
        The K * T + 1 borders of the parts, int64: ``linspace`` of each window, rounded up. For
        events with integer times, rounding up does not change the assignment.
    """
    borders = check_timestamps(timestamps)
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer) or num_steps < 1:
        raise ValueError(f'num_steps must be a positive integer, got {num_steps!r}')
    inner = [
        np.linspace(start, stop, num_steps + 1)[:-1]
        for start, stop in zip(borders[:-1], borders[1:])
    ]
    return np.append(np.ceil(np.concatenate(inner)).astype(np.int64), borders[-1])


def time_order(t: np.ndarray) -> np.ndarray | None:
    """Return the stable order of times (N,), or None if they are already in order."""
    return np.argsort(t, kind='stable') if (t[1:] < t[:-1]).any() else None


def frame_index(
    events: np.ndarray,
    by: str,
    num_frames: int | None = None,
    duration: int | None = None,
    timestamps: ArrayLike | None = None,
) -> tuple[np.ndarray, int]:
    """Assign events to frames; the order of the events in the array has no effect.

    * ``'number'``: ``num_frames`` frames of N // num_frames events each, in the order of time; the
      last one gets the rest. With fewer events than frames, one event per frame.
    * ``'time'``: ``num_frames`` frames of (t_max - t_min) // num_frames microseconds; the last one
      gets the rest.
    * ``'duration'``: as many frames of ``duration`` microseconds as the events need, at least one.
    * ``'timestamps'``: frame k has the events with timestamps[k] <= t < timestamps[k + 1].

    The first three give the slices of ``integrate_events_by_fixed_frames_number`` and
    ``integrate_events_by_fixed_duration`` in ``spikingjelly.datasets``. These functions fail on
    empty slices and on a time span of zero; here such frames are empty.

    Args:
        events: (N,) with the fields x, y, t, p; N may be 0.
        by: the rule.
        num_frames: number of frames, for ``'number'`` and ``'time'``.
        duration: length of a frame in microseconds, for ``'duration'``.
        timestamps: the K + 1 borders of K frames in microseconds, for ``'timestamps'``.

    Returns:
        The frame of every event, (N,) int64 (-1: before or after all ``timestamps``), and the
        number of frames T.

    Raises:
        ValueError: the rule is unknown; its argument is missing or not positive, or another
            argument is given; there are more than ``MAX_FRAMES`` frames; or events are invalid as
            in ``mmbsa.events.as_events``.
    """
    t = np.ascontiguousarray(as_events(events)['t'])
    order = time_order(t)
    edges = frame_edges(t if order is None else t[order], by, num_frames, duration, timestamps)
    index = np.full(len(t), -1)
    index[edges[0] : edges[-1]] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    if order is not None:
        index[order] = index.copy()
    return index, len(edges) - 1


def frame_edges(
    t: np.ndarray,
    by: str,
    num_frames: int | None = None,
    duration: int | None = None,
    timestamps: ArrayLike | None = None,
) -> np.ndarray:
    """Return the borders of the frames, (T + 1,), as indices into sorted times (N,).

    Frame k has the events edges[k] to edges[k + 1] - 1. The other arguments and errors are those of
    :func:`frame_index`.

    Args:
        t: sorted times (N,) in microseconds.
        by: the rule, see :func:`frame_index`.
        num_frames, duration, timestamps: argument of the rule, see :func:`frame_index`.
    """
    if by not in RULES:
        raise ValueError(f'by must be one of {RULES}, got {by!r}')
    given = dict(num_frames=num_frames, duration=duration, timestamps=timestamps)
    wanted = given.pop(ARGUMENTS[by])
    number = isinstance(wanted, int | np.integer) and not isinstance(wanted, bool) and wanted >= 1
    if any(other is not None for other in given.values()) or (
        wanted is None if by == 'timestamps' else not number
    ):
        kind = 'K + 1 times' if by == 'timestamps' else 'a positive integer'
        raise ValueError(
            f'by={by!r} takes {ARGUMENTS[by]}, {kind}, and nothing else; got '
            f'num_frames={num_frames!r}, duration={duration!r}, '
            f'timestamps={timestamps!r}'
        )
    if by == 'timestamps':
        assert timestamps is not None
        return np.searchsorted(t, check_timestamps(timestamps))
    pieces = num_frames if by != 'duration' else duration
    assert pieces is not None
    wanted, count = int(pieces), len(t)
    frames, span = wanted, int(t[-1] - t[0]) if count else 0
    if by == 'duration':
        frames = max(-(-span // wanted), 1)  # an event at the very end is in the last frame
    if frames > MAX_FRAMES:
        raise ValueError(
            f'{by} {wanted} gives {frames} frames of events from {int(t[0])} to '
            f'{int(t[-1])} microseconds; expected at most {MAX_FRAMES}'
            if by == 'duration'
            else f'num_frames must be at most {MAX_FRAMES}, got {wanted}'
        )
    if by == 'number':
        inner = np.minimum(np.arange(1, frames) * max(count // wanted, 1), count)
    else:
        length = wanted if by == 'duration' else max(span // wanted, 1)
        start = int(t[0]) if count else 0
        inner = np.searchsorted(t, start + np.arange(1, frames) * length)
    return np.concatenate([[0], inner, [count]]).astype(np.int64)


def slice_time(events: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the events with start <= t < stop (microseconds), in the order of the array."""
    events = as_events(events)
    return events[(events['t'] >= start) & (events['t'] < stop)]


def iter_windows(
    chunks: Iterable[np.ndarray],
    *,
    number: int | None = None,
    duration: int | None = None,
    timestamps: ArrayLike | None = None,
    max_gap: int = MAX_GAP,
) -> Iterator[np.ndarray]:
    """Divide a sorted stream of chunks into windows, with one window in memory at a time.

    Exactly one rule is given.

    Args:
        chunks: arrays of events in the order of time, for example from
            ``mmbsa.events.iter_events``.
        number: number of events per window; the last window may have fewer.
        duration: length of a window in microseconds, from the first event on.
        timestamps: the K + 1 borders in microseconds, two may be equal; there are exactly K
            windows, some may be empty.
        max_gap: longest accepted time between two events in microseconds, for ``duration`` only; 10
            minutes by default. A longer gap, which one damaged time causes, would give very many
            empty windows.

    Yields:
        The events of one window, (M,).

    Raises:
        ValueError: not exactly one rule is given, events are out of order, or a gap is longer than
            both ``max_gap`` and one window.
    """
    rules = dict(number=number, duration=duration, timestamps=timestamps)
    chosen = [name for name, value in rules.items() if value is not None]
    if len(chosen) != 1 or (timestamps is None and (number or duration or 0) < 1):
        raise ValueError(f'give one of number, duration (positive) and timestamps, got {rules}')
    if number is not None:
        yield from _windows_of_number(chunks, number)
        return
    borders = (
        None if timestamps is None else iter(check_timestamps(timestamps, empty=True).tolist())
    )
    start, stop = (next(borders), next(borders)) if borders else (None, None)
    length = duration or 0
    held: list[np.ndarray] = []
    last = None
    for chunk in chunks:
        chunk = as_events(chunk)
        if not len(chunk):
            continue
        t = np.ascontiguousarray(chunk['t'])
        before = np.append(t[0] if last is None else last, t[:-1])
        if (t < before).any():
            place = int(np.argmax(t < before))
            raise ValueError(
                'the events of a stream must be in the order of time; found '
                f't={t[place]} after {before[place]}'
            )
        if duration is not None and (t - before > max(max_gap, duration)).any():
            place = int(np.argmax(t - before))
            raise ValueError(
                f'no event for {t[place] - before[place]} microseconds, from t={before[place]} to '
                f't={t[place]}; expected gaps of at most max_gap={max_gap} microseconds. Remove '
                'the events with damaged times, or set a larger max_gap'
            )
        last = t[-1]
        if start is None:
            start, stop = int(t[0]), int(t[0]) + length
        begin = int(np.searchsorted(t, start))
        while stop is not None and last >= stop:
            edge = begin + int(np.searchsorted(t[begin:], stop))
            yield _joined([*held, chunk[begin:edge]])
            held, begin = [], edge
            stop = next(borders, None) if borders else stop + length
        if stop is None:
            return
        held.append(chunk[begin:])
    if borders is None and held:
        yield _joined(held)
    while borders is not None and stop is not None:
        yield _joined(held)
        held, stop = [], next(borders, None)


def _windows_of_number(chunks: Iterable[np.ndarray], number: int) -> Iterator[np.ndarray]:
    held: np.ndarray = np.zeros(0, EVENT_DTYPE)
    for chunk in chunks:
        held = np.concatenate([held, as_events(chunk)])
        whole = len(held) // number * number
        for edge in range(0, whole, number):
            yield held[edge : edge + number].copy()
        held = held[whole:]
    if len(held):
        yield held


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.zeros(0, EVENT_DTYPE)])
