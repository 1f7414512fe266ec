"""Common parts of all readers of recordings: files, blocks of events, errors."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: number of events decoded at once if the format does not determine it
BLOCK = 2**18
#: seconds between two checks of a growing file
POLL = 0.05
#: largest length of a header line in bytes
LONGEST_LINE = 2**16
#: largest accepted packet in bytes
LARGEST = 2**30


class RecordingError(ValueError):
    """Raised for a recording that cannot be read completely; the message names file and position.

    Attributes:
        path: the file.
        offset: byte at which the fault begins; None if unknown.
    """

    def __init__(self, path: Path, message: str, offset: int | None = None) -> None:
        at = '' if offset is None else f' at byte {offset}'
        super().__init__(f'{path}: not a readable recording{at} ({message})')
        self.path, self.offset, self.reason = Path(path), offset, message

    def __reduce__(self) -> tuple:
        # errors of worker processes are pickled
        return type(self), (self.path, self.reason, self.offset)


class TruncatedError(RecordingError):
    """Error for a recording that ends in the middle of an event or a block.

    With ``repair='truncated'`` the complete events before that position are read instead.
    """


#: faults that can be repaired on request
REPAIRS = ('empty', 'outside', 'truncated', 'unsorted')
#: help text of options for them
REPAIR_HELP = (
    'faults to repair: truncated (use the events before the end of a truncated file), unsorted '
    '(sort the events by time), outside (remove events outside of the sensor), empty (accept files '
    'without events), or all'
)


def check_repair(repair: str | Collection[str]) -> frozenset[str]:
    """Return the faults to repair, or raise ValueError if one is unknown."""
    wanted = frozenset([repair] if isinstance(repair, str) else repair)
    if wanted == {'all'}:
        return frozenset(REPAIRS)
    if not wanted <= set(REPAIRS):
        raise ValueError(f"repair must be some of {REPAIRS} or 'all', got {repair!r}")
    return wanted


class Block(NamedTuple):
    """Raw columns of some events, (N,) each, with their position in the file.

    ``offset`` is the byte at which the block begins, ``stride`` the bytes per event. If events have
    no individual position, both are None or ``stride`` is 0.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    offset: int | None = None
    stride: int = 0


@dataclass
class Request:
    """Arguments for opening a recording.

    Args:
        path: the file.
        part: selects one of several streams or recordings; None if there is only one.
        layout: address layout of AEDAT 1 and 2, see ``mmbsa.events.formats.aedat``.
        sensor_size: (height, width) of the sensor in pixels; None if the file states it.
        follow: seconds to wait for a growing file; 0 reads the present content.
    """

    path: Path
    part: Any = None
    layout: str | None = None
    sensor_size: tuple[int, int] | None = None
    follow: float = 0.0


@dataclass
class Recording:
    """An opened recording.

    Args:
        path: the file.
        format: name of the format.
        size: (height, width) that the file states, or None.
        blocks: function that yields the blocks from the beginning.
        time_unit: unit of the times in the blocks, see ``mmbsa.events.make_events``.
        details: other information of the header.
        has_parts: whether ``part`` selects one of several.
    """

    path: Path
    format: str
    size: tuple[int, int] | None
    blocks: Callable[[], Iterator[Block]]
    time_unit: str = 'us'
    details: dict[str, Any] = field(default_factory=dict)
    has_parts: bool = False


class Source:
    """A file that is read sequentially and that may still grow.

    Args:
        request: the request, with path and ``follow``.
        offset: byte at which reading starts, 0 by default.
    """

    def __init__(self, request: Request, offset: int = 0) -> None:
        self.path, self.follow, self.offset = request.path, request.follow, offset

    def __enter__(self) -> 'Source':
        self._file = open(self.path, 'rb')
        self._file.seek(self.offset)
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def _wait(self, have: int, size: int) -> bytes:
        """Return up to ``size - have`` further bytes of a growing file."""
        deadline, parts = time.monotonic() + self.follow, []
        while have < size and time.monotonic() < deadline:
            part = self._file.read(size - have)
            if part:
                parts.append(part)
                have += len(part)
                deadline = time.monotonic() + self.follow
            else:
                time.sleep(min(POLL, self.follow))
        return b''.join(parts)

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the file."""
        data = self._file.read(size)
        if len(data) < size and self.follow:
            data += self._wait(len(data), size)
        self.offset += len(data)
        return data

    def exactly(self, size: int, what: str) -> bytes:
        """Return the next ``size`` bytes, or none at the end; otherwise raise TruncatedError."""
        start, data = self.offset, self.read(size)
        if data and len(data) < size:
            raise TruncatedError(
                self.path,
                f'{what} should have {size} bytes, but the file ends '
                f'after {len(data)}; it is truncated',
                start,
            )
        return data

    def units(self, unit: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of whole units of ``unit`` bytes, many at a time.

        Raises:
            TruncatedError: the file ends inside a unit; the whole units before it are yielded
                first.
        """
        tail = b''
        while True:
            start = self.offset - len(tail)
            # a growing file: use the present content, wait only for the first bytes
            new = self._file.read(BLOCK * unit)
            if not new and self.follow:
                new = self._wait(0, 1)
            self.offset += len(new)
            if not new:
                break
            data = tail + new
            whole = len(data) // unit * unit
            tail = data[whole:]
            if whole:
                yield start, data[:whole]
        if tail:
            raise TruncatedError(
                self.path,
                f'{len(tail)} bytes are not a whole event of {unit} bytes; the file is truncated',
                self.offset - len(tail),
            )


class Unwrap:
    """Continue the times of a wrapping counter of ``bits`` bits over many blocks.

    A decrease by more than half of the counter's range is a wrap-around; a smaller decrease is
    kept.
    """

    def __init__(self, bits: int) -> None:
        self.range, self.last, self.base = 2**bits, None, 0

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return times (N,) as int64."""
        t = t.astype(np.int64)
        if not len(t):
            return t
        change = t - np.append(t[0] if self.last is None else self.last, t[:-1])
        falls = change < -(self.range // 2)
        # a late event from before the wrap-around that follows an event from after it
        late = (change > self.range // 2) & (self.base + np.cumsum(falls) > 0)
        turns = self.base + np.cumsum(falls.astype(np.int64) - late)
        self.last, self.base = t[-1], turns[-1]
        return t + turns * self.range


def header_lines(request: Request, mark: bytes, end: str | None = None) -> tuple[list[str], int]:
    """Return the first lines that start with ``mark``, and the byte after them.

    Data can begin with the same byte: a line with bytes that are not text is data.

    Args:
        request: the request, with the name of the file.
        mark: one byte.
        end: text after the mark in the last line, in any case; None (default) if there is none.

    Raises:
        TruncatedError: the file ends inside a line.
    """
    lines, offset = [], 0
    with open(request.path, 'rb') as file:
        while file.peek(1)[:1] == mark:
            line = file.readline(LONGEST_LINE)
            data = any(byte < 32 and byte not in b'\t\r\n' for byte in line)
            if data or mark == b'%' and not line.isascii():
                break
            if not line.endswith(b'\n'):
                raise TruncatedError(request.path, 'the header does not end', offset)
            lines.append(line.decode('latin-1').strip())
            offset += len(line)
            if end is not None and lines[-1][1:].strip().lower() == end:
                break
    return lines, offset


def choose_stream(request: Request, streams: dict, default: Any = None) -> Any:
    """Return the number of the stream of events to read: ``request.part``, or the only one.

    Args:
        request: the request.
        streams: number -> stream of events.
        default: result if there is no stream; None by default.
    """
    part = request.part
    if part is None and len(streams) > 1:
        raise RecordingError(
            request.path, f'it holds several streams of events, {streams}; choose one by part='
        )
    if part is not None and part not in streams:
        raise RecordingError(
            request.path, f'part={part!r} is not one of the streams of events {streams}'
        )
    return part if part is not None else next(iter(streams), default)
