"""What all readers of recordings share: bytes and their places, blocks of events, errors."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: events that are decoded at once where the format does not say
BLOCK = 2**18
#: seconds between two looks at a file that grows
POLL = 0.05
#: bytes of the longest line of a header
LONGEST_LINE = 2**16
#: bytes of the largest packet that is believed
LARGEST = 2**30


class RecordingError(ValueError):
    """A recording that cannot be read as a whole; the message names the file and the place.

    Attributes:
        path: The file.
        offset: Byte at which the fault begins, where that is known.
    """

    def __init__(self, path: Path, message: str, offset: int | None = None) -> None:
        at = '' if offset is None else f' at byte {offset}'
        super().__init__(f'{path}: not a readable recording{at} ({message})')
        self.path, self.offset, self.reason = Path(path), offset, message


class TruncatedError(RecordingError):
    """Error for a recording that ends in the middle of an event or a block.

    With ``repair='truncated'`` the complete events before that position are read instead.
    """


class Block(NamedTuple):
    """Raw columns of some events, (N,) each, and where they come from.

    ``offset`` is the byte at which the block begins, ``stride`` the bytes per event; both None or
    ``stride`` 0 where events have no place of their own.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    offset: int | None = None
    stride: int = 0


@dataclass
class Request:
    """What a caller wants of a file.

    Args:
        path: The file.
        part: Which of several streams or recordings; None where there is one.
        layout: Address layout of AEDAT 1 and 2, see ``mmbsa.events.formats.aedat``.
        sensor_size: (height, width) of the sensor; None where the file says it.
        follow: Seconds to wait for a growing file to grow; 0 reads what is there.
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
        path: The file.
        format: Name of the format.
        size: (height, width) that the file states, or None.
        blocks: Starts reading from the beginning.
        time_unit: Of the times in the blocks, see ``mmbsa.events.make_events``.
        details: What else the header says.
        has_parts: ``part`` chose one of several.
    """

    path: Path
    format: str
    size: tuple[int, int] | None
    blocks: Callable[[], Iterator[Block]]
    time_unit: str = 'us'
    details: dict[str, Any] = field(default_factory=dict)
    has_parts: bool = False


class Source:
    """A file that is read forward, and that may still grow."""

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
        """Return the next ``size`` bytes, none at the end of the file, or raise TruncatedError."""
        start, data = self.offset, self.read(size)
        if data and len(data) < size:
            raise TruncatedError(
                self.path,
                f'{what} should have {size} bytes, but the file ends '
                f'after {len(data)}; it is cut off',
                start,
            )
        return data

    def units(self, unit: int) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of whole units of ``unit`` bytes, many at a time.

        Raises:
            TruncatedError: The file ends in the middle of a unit, after the whole ones were given.
        """
        tail = b''
        while True:
            start = self.offset - len(tail)
            # a growing file: take what is there, wait only for the first bytes
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
                f'{len(tail)} bytes are no whole event of {unit} bytes; the file is cut off',
                self.offset - len(tail),
            )


class Unwrap:
    """Make times of a counter of ``bits`` bits that starts anew continue to rise, over many blocks.

    A fall by more than half of the counter's range is a new start; a smaller one is left as it is.
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
        # an event that comes late, from before the new start, after one from behind it
        late = (change > self.range // 2) & (self.base + np.cumsum(falls) > 0)
        turns = self.base + np.cumsum(falls.astype(np.int64) - late)
        self.last, self.base = t[-1], turns[-1]
        return t + turns * self.range


def header_lines(request: Request, mark: bytes, end: str | None = None) -> tuple[list[str], int]:
    """Return the lines at the beginning of a file that start with ``mark``, and where they end.

    Data can begin with the same byte: a line with bytes that are no text is data.

    Args:
        request: Names the file.
        mark: One byte.
        end: The last line is the one with these words after the mark, in any case.

    Raises:
        TruncatedError: The file ends in a line.
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

    ``default`` where there is none.
    """
    part = request.part
    if part is None and len(streams) > 1:
        raise RecordingError(
            request.path, f'it holds several streams of events, {streams}; choose one by part='
        )
    if part is not None and part not in streams:
        raise RecordingError(
            request.path, f'part={part!r} is none of the streams of events {streams}'
        )
    return part if part is not None else next(iter(streams), default)
