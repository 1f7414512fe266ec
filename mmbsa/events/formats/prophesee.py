"""Reader of Prophesee's recordings: .dat (N-CARS, Gen1, 1Mpx) and raw EVT 2.0 and EVT 3.0."""

import re
from collections.abc import Iterator

import numpy as np

from mmbsa.events.formats.source import (
    Block,
    Recording,
    RecordingError,
    Request,
    Source,
    TruncatedError,
    Unwrap,
    header_lines,
)


def header_size(lines: list[str]) -> tuple[int, int] | None:
    """Return (height, width) from the header, or None."""
    text = '\n'.join(lines)
    geometry = re.search(r'geometry\s+(\d+)x(\d+)', text, re.I)
    if geometry:
        return int(geometry[2]), int(geometry[1])
    height, width = (re.search(rf'\b{name}[ =](\d+)', text, re.I) for name in ('height', 'width'))
    return (int(height[1]), int(width[1])) if height and width else None


def open_dat(request: Request) -> Recording:
    """Open a .dat file: lines that start with ``%``, the bytes event type and event size, events.

    An event is a 32-bit time in microseconds and a 32-bit word: x in bits 0-13, y in bits 14-27,
    the polarity in bit 28; in files of version 1, x in bits 0-8, y in bits 9-16, the polarity in
    bit 17.

    Raises:
        RecordingError: events have another type or size.
    """
    lines, start = header_lines(request, b'%')
    with Source(request, start) as source:
        kind = source.exactly(2, 'the event type and size')
    if len(kind) < 2:
        raise TruncatedError(request.path, 'the event type and size are missing', start)
    if kind[1] != 8:
        raise RecordingError(
            request.path, f'expected events of 8 bytes, the header states {kind[1]}', start + 1
        )
    if kind[0] not in (0x00, 0x0C):
        raise RecordingError(
            request.path,
            'expected change detection events (type 0x00 or 0x0C), '
            f'the header states 0x{kind[0]:02X}',
            start,
        )
    version = re.search(r'%\s*version\s+(\d+)', '\n'.join(lines), re.I)
    old = version is not None and int(version[1]) < 2
    bits = ((0, 9), (9, 8), (17, 1)) if old else ((0, 14), (14, 14), (28, 1))

    def blocks() -> Iterator[Block]:
        unwrap = Unwrap(32)
        with Source(request, start + 2) as source:
            for offset, data in source.units(8):
                words = np.frombuffer(data, '<u4').reshape(-1, 2)
                x, y, p = (words[:, 1] >> shift & (1 << width) - 1 for shift, width in bits)
                yield Block(x, y, unwrap(words[:, 0]), p, offset, 8)

    return Recording(
        request.path,
        'dat',
        header_size(lines),
        blocks,
        details=dict(version=int(version[1]) if version else None),
    )


def open_evt(request: Request) -> Recording:
    """Open a raw Prophesee file in the encoding EVT 2.0 or EVT 3.0.

    The header of the file names the encoding (``% evt 3.0`` or ``% format EVT3;...``).

    Raises:
        RecordingError: The header names another encoding, or no encoding.
    """
    lines, start = header_lines(request, b'%', 'end')
    text = '\n'.join(lines)
    named = re.search(r'%\s*evt\s+([\d.]+)', text, re.I) or re.search(r'\bEVT([\d.]+)', text)
    version = str(named[1]).rstrip('.') if named else ''
    version = {'2.0': '2', '3.0': '3'}.get(version, version)
    if version not in ('2', '3'):
        raise RecordingError(
            request.path,
            'expected EVT 2.0 or EVT 3.0, the header states '
            + (f'EVT {version}' if version else 'neither'),
            0,
        )
    decoder, unit = (Evt2, 4) if version == '2' else (Evt3, 2)

    def blocks() -> Iterator[Block]:
        decode = decoder(request)
        with Source(request, start) as source:
            for offset, data in source.units(unit):
                yield decode(np.frombuffer(data, f'<u{unit}'), offset)

    return Recording(request.path, f'evt{version}', header_size(lines), blocks)


def _hold(values: np.ndarray, where: np.ndarray, before: int) -> np.ndarray:
    """Return for every position the value at the latest ``where`` up to it, or ``before``, (N,)."""
    latest = np.maximum.accumulate(np.where(where, np.arange(len(values)), -1))
    return np.where(latest < 0, before, values[latest]) if len(values) else values


def _turns(high: np.ndarray, before: int, bits: int) -> np.ndarray:
    """Return how often the upper part of the time, of ``bits`` bits, has wrapped around, (N,).

    A decrease by more than half of its range is a wrap-around. ``before`` is -1 at the beginning.
    """
    change = high - np.append(high[:1] if before < 0 else before, high[:-1])
    return np.cumsum(change < -(1 << bits - 1))


def _check_types(
    kind: np.ndarray, known: tuple[int, ...], request: Request, offset: int, unit: int, name: str
) -> None:
    table = np.ones(16, bool)
    table[list(known)] = False
    wrong = table[kind]
    if wrong.any():
        place = int(np.argmax(wrong))
        raise RecordingError(
            request.path,
            f'a word of type 0x{kind[place]:X}, which {name} does not have',
            offset + place * unit,
        )


class Evt2:
    """Decode EVT 2.0 in blocks: 32-bit words with their type in the upper four bits.

    Types 0 and 1 are off and on events (6 low bits of the time, 11 bits x, 11 bits y), 8 is the
    upper 28 bits of the time; triggers and vendor words (0xA, 0xE, 0xF) are not events. Words
    before the first time word are skipped, because they have no time.

    Args:
        request: the request, with the name of the file.
    """

    KNOWN = (0x0, 0x1, 0x8, 0xA, 0xE, 0xF)

    def __init__(self, request: Request) -> None:
        self.request, self.high, self.turns = request, -1, 0

    def __call__(self, words: np.ndarray, offset: int) -> Block:
        """Return the events of whole words (N,) that begin at byte ``offset``."""
        kind = words >> 28
        _check_types(kind, self.KNOWN, self.request, offset, 4, 'EVT 2.0')
        high = _hold((words & 0x0FFFFFFF).astype(np.int64), kind == 8, self.high)
        turns = self.turns + _turns(high, self.high, 28)
        self.high, self.turns = int(high[-1]), int(turns[-1])
        events = (kind <= 1) & (high >= 0)
        words, kind = words[events], kind[events]
        t = (turns[events] << 34) + (high[events] << 6) + (words >> 22 & 0x3F)
        return Block(words >> 11 & 0x7FF, words & 0x7FF, t, kind, offset)


class Evt3:
    """Decode EVT 3.0 in blocks: 16-bit words with their type in the upper four bits.

    The state (row, base column, polarity, both halves of the time) persists from block to block. A
    new upper half of the time sets the lower half to 0 until the next lower half. Vectors (12 or 8
    columns per word) advance the base column. Triggers and vendor words are not events. Words
    before the first upper half of the time or before the first row are skipped.

    Args:
        request: the request, with the name of the file.
    """

    ROW, COLUMN, BASE, VECTOR12, VECTOR8, LOW, HIGH = 0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x8
    KNOWN = (ROW, COLUMN, BASE, VECTOR12, VECTOR8, LOW, 0x7, HIGH, 0xA, 0xE, 0xF)

    def __init__(self, request: Request) -> None:
        self.request = request
        self.high = self.low = self.row = self.base = -1
        self.polarity, self.turns = 0, 0

    def _times(self, kind: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Return the time at every word, (N,) int64; negative before the first upper half."""
        is_high, is_low = kind == self.HIGH, kind == self.LOW
        high = _hold(value, is_high, self.high)
        turns = self.turns + _turns(high, self.high, 12)  # one every 16.8 s
        changed = is_high & (high != np.append(self.high, high[:-1]))
        low = _hold(np.where(changed, 0, value), changed | is_low, self.low)
        self.high, self.low, self.turns = int(high[-1]), int(low[-1]), int(turns[-1])
        return np.where(high < 0, -1, (turns << 24) + (high << 12) + np.maximum(low, 0))

    def __call__(self, words: np.ndarray, offset: int) -> Block:
        """Return the events of whole words (N,) that begin at byte ``offset``."""
        kind = words >> 12
        _check_types(kind, self.KNOWN, self.request, offset, 2, 'EVT 3.0')
        value = (words & 0xFFF).astype(np.int64)
        t = self._times(kind, value)
        row = _hold(value & 0x7FF, kind == self.ROW, self.row)
        is_base = kind == self.BASE
        polarity = _hold(value >> 11, is_base, self.polarity)
        # vectors since the last base column word advance the base column
        moved = np.cumsum(12 * (kind == self.VECTOR12) + 8 * (kind == self.VECTOR8))
        after = _hold((value & 0x7FF) - moved, is_base, self.base) + moved
        before = np.append(self.base, after[:-1])
        known = (t >= 0) & (row >= 0)
        single = np.flatnonzero((kind == self.COLUMN) & known)
        x, p, order = [value[single] & 0x7FF], [value[single] >> 11], [single]
        has_base = known & ((np.cumsum(is_base) > 0) | (self.base >= 0))
        for code, bits in ((self.VECTOR12, 12), (self.VECTOR8, 8)):
            word = np.flatnonzero((kind == code) & has_base)
            at, bit = np.nonzero(value[word, None] >> np.arange(bits) & 1)
            x.append(before[word[at]] + bit)
            p.append(polarity[word[at]])
            order.append(word[at])
        words = np.concatenate(order)
        sort = np.argsort(words, kind='stable')  # in the order of the words, then of the bits
        words = words[sort]
        self.row, self.polarity = int(row[-1]), int(polarity[-1])
        self.base = int(after[-1]) if is_base.any() or self.base >= 0 else -1
        return Block(np.concatenate(x)[sort], row[words], t[words], np.concatenate(p)[sort], offset)
