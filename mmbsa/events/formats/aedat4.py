"""Reader of AEDAT 4 (iniVation DV): packets of flatbuffers, often compressed."""

import os
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmbsa.events.formats.source import (
    LARGEST,
    Block,
    Recording,
    RecordingError,
    Request,
    Source,
    TruncatedError,
    check_repair,
    choose_stream,
)


def open_aedat4(request: Request) -> Recording:
    """Open AEDAT 4 (iniVation DV): a header, then packets, each a flatbuffer, often compressed.

    Layout: ``#!AER-DAT4.0``; the header, a flatbuffer with the compression, the position of the
    index at the end of the file and a description of the streams in XML; packets of a stream
    number, a size and content. Event packets hold structs of 16 bytes: t, x, y, p. ``request.part``
    selects a stream by its number. Compressed files need ``lz4`` or ``zstandard``.

    Raises:
        RecordingError: the header or a packet is damaged, there is no stream of events, or there
            are several and no ``part``.
        ModuleNotFoundError: the package for the compression is missing.
    """
    file = _File4(request)
    streams = {number: info.name for number, info in file.streams.items() if info.kind == 'EVTS'}
    if not streams:
        raise RecordingError(request.path, 'it holds no stream of events (EVTS)', 18)
    chosen = choose_stream(request, streams, None)
    return Recording(
        request.path,
        'aedat4',
        file.streams[chosen].size,
        lambda: file.packets(chosen, _events4),
        details=dict(streams=streams),
        has_parts=True,
    )


def read_frame_times(
    path: str | os.PathLike, part: int | None = None, *, repair: str | Collection[str] = ()
) -> np.ndarray:
    """Return the start times of the frames of an AEDAT 4 recording, in its own clock.

    Args:
        path: the file.
        part: number of the stream of frames; None (default) if there is only one.
        repair: faults that are repaired, as in ``read_events``; none by default. ``'truncated'``
            uses the frames before the end of a truncated file; the other faults are those of events
            and have no effect.

    Returns:
        (N,) int64 in microseconds: the start of the frame, or the timestamp of the frame if the
        camera writes no start.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as in ``read_events``; ValueError also
            for another format and for a recording without frames.
    """
    path, repairs = Path(path), check_repair(repair)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such recording')
    with open(path, 'rb') as head:
        if not head.read(10).startswith(b'#!AER-DAT4'):
            raise RecordingError(path, 'frame times are read from AEDAT 4 only', 0)
    request = Request(path, part)
    file = _File4(request)
    streams = {number: info.name for number, info in file.streams.items() if info.kind == 'FRME'}
    if not streams:
        raise RecordingError(path, 'it holds no stream of frames (FRME)', 18)
    chosen = choose_stream(request, streams, None)
    times: list[int] = []
    try:
        for time in file.packets(chosen, _frame_time4):
            times.append(time)
    except TruncatedError:
        if 'truncated' not in repairs:
            raise
    return np.array(times, np.int64)


class _Stream4(NamedTuple):
    kind: str
    name: str
    size: tuple[int, int] | None


class _File4:
    """The header of an AEDAT 4 file, and its packets."""

    def __init__(self, request: Request) -> None:
        self.request = request
        with Source(request) as source:
            magic = source.read(14)
            length = int.from_bytes(source.exactly(4, 'the size of the header'), 'little')
            if not 16 <= length <= LARGEST:
                raise RecordingError(request.path, f'a header of {length} bytes', len(magic))
            header = source.exactly(length, 'the header')
            self.start = source.offset
        try:
            method, self.end, description = _header4(header)
            self.streams = _streams4(description)
        except (struct.error, ValueError, IndexError, SyntaxError) as error:  # SyntaxError is XML's
            raise RecordingError(request.path, f'the header is damaged: {error}', 18) from error
        self.decompress = _decompressor(method, request)

    def _is_index(self, data: bytes) -> bool:
        """Return whether the bytes are the index that follows the last packet."""
        try:
            _table4(self.decompress(data), b'FTAB')
        except Exception:  # each compression raises its own types
            return False
        return True

    def packets(self, stream: int, decode: Callable[[bytes, int], Any]) -> Iterator[Any]:
        """Yield the decoded packets of a stream; other streams are skipped."""
        path = self.request.path
        with Source(self.request, self.start) as source:
            while self.end < 0 or source.offset < self.end:
                at = source.offset
                head = source.exactly(8, 'a packet header')
                if not head and self.end >= 0:
                    raise TruncatedError(
                        path,
                        f'the header states that packets end at byte {self.end}, but the file ends',
                        at,
                    )
                if not head:
                    return
                number, length = struct.unpack('<ii', head)
                if self.end < 0 and number not in self.streams:
                    # The header was written before the end of the recording, so it does not give
                    # the position of the index, which follows the last packet.
                    if self._is_index(head + source.read(LARGEST)):
                        return
                    raise RecordingError(
                        path,
                        f'a packet of stream {number}, but the header lists the streams '
                        f'{list(self.streams)}',
                        at,
                    )
                if not 0 <= length <= LARGEST:
                    raise RecordingError(path, f'a packet of {length} bytes', at)
                data = source.exactly(length, 'a packet')
                if len(data) < length:
                    raise TruncatedError(path, 'a packet header without its content', at)
                if number != stream:
                    continue
                try:
                    yield decode(self.decompress(data), at)
                except Exception as error:  # each compression raises its own types
                    raise RecordingError(
                        path,
                        f'a damaged packet of stream {stream} ({type(error).__name__}: {error})',
                        at,
                    ) from error


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Return the position of field ``number`` of the flatbuffer table at ``table``, or None."""
    layout = table - struct.unpack_from('<i', buffer, table)[0]
    if layout < 0 or 4 + 2 * number + 2 > struct.unpack_from('<H', buffer, layout)[0]:
        return None
    offset = struct.unpack_from('<H', buffer, layout + 4 + 2 * number)[0]
    return table + offset if offset else None


def _header4(header: bytes) -> tuple[int, int, str]:
    """Return the compression, the end of the packets (-1 if unknown) and the description."""
    table = struct.unpack_from('<I', header)[0]
    at = [_field(header, table, number) for number in range(3)]
    method = 0 if at[0] is None else struct.unpack_from('<i', header, at[0])[0]
    end = -1 if at[1] is None else struct.unpack_from('<q', header, at[1])[0]
    if at[2] is None:
        raise ValueError('it describes no streams')
    text = at[2] + struct.unpack_from('<I', header, at[2])[0]
    length = struct.unpack_from('<I', header, text)[0]
    return method, end, header[text + 4 : text + 4 + length].decode('utf-8')


def _streams4(description: str) -> dict[int, _Stream4]:
    """Return stream number -> stream, from the description in the header."""
    import xml.etree.ElementTree as tree

    if '<!' in description:
        raise ValueError('the description of the streams has a document type')
    streams = {}
    for node in tree.fromstring(description).iter('node'):
        values = {attr.get('key'): attr.text or '' for attr in node.findall('attr')}
        number = node.get('name', '')
        if 'typeIdentifier' not in values or not number.isdigit():
            continue
        info = {
            attr.get('key'): attr.text or '' for attr in node.findall("node[@name='info']/attr")
        }
        size = (int(info['sizeY']), int(info['sizeX'])) if {'sizeX', 'sizeY'} <= set(info) else None
        name = info.get('source') or values.get('originalOutputName') or 'camera'
        streams[int(number)] = _Stream4(values['typeIdentifier'], name, size)
    return streams


def _decompressor(method: int, request: Request):
    """Return the function that decompresses a packet with the header's compression."""
    if method == 0:
        return lambda data: data
    package = {1: 'lz4', 2: 'lz4', 3: 'zstandard', 4: 'zstandard'}.get(method)
    if package is None:
        raise RecordingError(
            request.path,
            f'compression {method}; expected 0 (none), 1, 2 (LZ4), 3 or 4 (Zstandard)',
            18,
        )
    try:
        if package == 'lz4':
            import lz4.frame

            return lz4.frame.decompress
        import zstandard
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{request.path}: packets of this AEDAT 4 file are compressed; '
            f'reading them needs {package}: pip install {package}',
            name=package,
        ) from error
    return lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)


_EVENT4 = np.dtype(
    dict(
        names=['t', 'x', 'y', 'p'],
        formats=['<i8', '<i2', '<i2', 'u1'],
        offsets=[0, 8, 10, 12],
        itemsize=16,
    )
)


def _table4(packet: bytes, kind: bytes) -> int:
    """Return the position of the table of a decompressed packet: its size, then a flatbuffer."""
    size = struct.unpack_from('<I', packet)[0]
    if size + 4 > len(packet) or packet[8:12] != kind:
        raise ValueError(f'{len(packet)} bytes; expected {size} bytes of the type {kind.decode()}')
    return 4 + struct.unpack_from('<I', packet, 4)[0]


def _events4(packet: bytes, offset: int) -> Block:
    """Return the events of a packet, its only vector."""
    at = _field(packet, _table4(packet, b'EVTS'), 0)
    if at is None:
        events: np.ndarray = np.zeros(0, _EVENT4)
    else:
        vector = at + struct.unpack_from('<I', packet, at)[0]
        number = struct.unpack_from('<I', packet, vector)[0]
        events = np.frombuffer(packet, _EVENT4, number, vector + 4)
    return Block(events['x'], events['y'], events['t'], events['p'], offset)


def _frame_time4(packet: bytes, offset: int) -> int:
    """Return the start of a packet's frame (field 1), or its timestamp (field 0)."""
    table = _table4(packet, b'FRME')
    for number in (1, 0):
        at = _field(packet, table, number)
        if at is not None and (time := struct.unpack_from('<q', packet, at)[0]):
            return time
    return 0
