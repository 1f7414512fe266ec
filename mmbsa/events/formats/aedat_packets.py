"""AEDAT 3 and 4: packets of events, frames and measurements of several streams."""
import re
import struct
from collections.abc import Iterator

import numpy as np

from mmbsa.events.formats.source import (
    Block,
    Recording,
    RecordingError,
    Request,
    Source,
    TruncatedError,
    header_lines,
)

#: device of AEDAT 3 -> (height, width)
SIZES3 = {'dvs128': (128, 128), 'davis128': (128, 128), 'davis208': (192, 208),
          'davis240': (180, 240), 'davis346': (260, 346), 'davis640': (480, 640)}
#: largest packet that is believed, in bytes
LARGEST = 2**30


def open_aedat3(request: Request) -> Recording:
    """Open AEDAT 3: header lines, then packets of 28 bytes of header and events of one size.

    Polarity events (type 1) have 64 bits: valid in bit 0, the polarity in bit 1, y in bits 2-16, x
    in bits 17-31, 31 bits of the time; the packet has the upper bits of the time. Invalid events
    and packets of other types are left out. ``request.part`` chooses a source by its number.

    Raises:
        RecordingError: Another encoding than RAW; several sources and no ``part``.
    """
    lines, start = header_lines(request, b'#', '!end-header')
    text = '\n'.join(lines)
    encoding = re.search(r'^#\s*Format:\s*(\S+)', text, re.M)
    if encoding and encoding[1].upper() != 'RAW':
        raise RecordingError(request.path, f'AEDAT 3 in the encoding {encoding[1]!r}; expected RAW',
                             0)
    sources = {int(number): name.strip() for number, name in
               re.findall(r'^#\s*Source\s+(\d+):\s*(.+)$', text, re.M)}
    chosen = _choose_stream(request, sources, None)
    device = (sources.get(chosen) or '').lower()
    size = next((size for name, size in SIZES3.items() if device.startswith(name)), None)

    def blocks() -> Iterator[Block]:
        with Source(request, start) as source:
            while head := source.exactly(28, 'a packet header'):
                kind, origin = struct.unpack_from('<HH', head)
                length, _, turns, capacity, number = struct.unpack_from('<5i', head, 4)
                at = source.offset - 28
                if min(length, capacity, number) < 0 or number > capacity or (
                        length * capacity > LARGEST):
                    raise RecordingError(
                        request.path, f'a packet of {number} of {capacity} events of {length} bytes'
                        '; the packet header is damaged', at)
                data = source.exactly(length * capacity, 'a packet')
                if len(data) < length * capacity:
                    raise TruncatedError(request.path, 'a packet header without its events', at)
                if kind != 1 or (chosen is not None and origin != chosen):
                    continue
                if length != 8:
                    raise RecordingError(request.path, f'polarity events of {length} bytes; '
                                         'expected 8', at + 4)
                words = np.frombuffer(data, '<u4', 2 * number).reshape(-1, 2)
                words = words[words[:, 0] & 1 == 1]
                word = words[:, 0]
                t = words[:, 1].astype(np.int64) + (turns << 31)
                yield Block(word >> 17, word >> 2 & 0x7FFF, t, word >> 1 & 1, at + 28)

    return Recording(request.path, 'aedat3', size, blocks, details=dict(sources=sources))


def _choose_stream(request: Request, streams: dict, default: int | None) -> int | None:
    part = request.part
    if part is None and len(streams) > 1:
        raise RecordingError(request.path, f'it holds several streams of events, {streams}; choose '
                             'one by part=')
    if part is not None and part not in streams:
        raise RecordingError(request.path, f'part={part!r} is none of the streams of events '
                             f'{streams}')
    return part if part is not None else next(iter(streams), default)


def open_aedat4(request: Request) -> Recording:
    """Open AEDAT 4 (iniVation DV): a header, then packets, each a flatbuffer, often compressed.

    Layout: ``#!AER-DAT4.0``, the header (a flatbuffer with the compression, the place of the index
    at the end of the file and a description of the streams in XML), packets of a stream number, a
    size and content. Event packets hold structs of 16 bytes: t, x, y, p. ``request.part`` chooses a
    stream by its number. Needs ``lz4`` or ``zstandard`` where the file is compressed so.

    Raises:
        RecordingError: A damaged header or packet, no stream of events, or several and no ``part``.
        ModuleNotFoundError: The package for the compression is missing.
    """
    with Source(request) as source:
        magic = source.read(14)
        prefix = source.exactly(4, 'the size of the header')
        length = int.from_bytes(prefix, 'little')
        if not 16 <= length <= LARGEST:
            raise RecordingError(request.path, f'a header of {length} bytes', len(magic))
        header = source.exactly(length, 'the header')
        start = source.offset
    try:
        method, end, description = _header4(header)
        streams, sizes = _streams4(description)
    except (struct.error, ValueError, IndexError, SyntaxError) as error:  # XML's is a SyntaxError
        raise RecordingError(request.path, f'the header is damaged: {error}', 18) from error
    _decompressor(method, request)
    if not streams:
        raise RecordingError(request.path, 'it holds no stream of events (EVTS)', 18)
    chosen = _choose_stream(request, streams, None)

    def blocks() -> Iterator[Block]:
        decompress = _decompressor(method, request)
        with Source(request, start) as source:
            while end < 0 or source.offset < end:
                at = source.offset
                head = source.exactly(8, 'a packet header')
                if not head and end >= 0:
                    raise TruncatedError(
                        request.path, f'the header says that packets reach to byte '
                        f'{end}, but the file ends', at)
                if not head:
                    return
                number, length = struct.unpack('<ii', head)
                if not 0 <= length <= LARGEST:
                    raise RecordingError(request.path, f'a packet of {length} bytes', at)
                data = source.exactly(length, 'a packet')
                if len(data) < length:
                    raise TruncatedError(request.path, 'a packet header without its content', at)
                if number == chosen:
                    try:
                        yield _events4(decompress(data), at)
                    except Exception as error:  # each compression has its own
                        raise RecordingError(request.path, 'a damaged packet of events '
                                             f'({type(error).__name__}: {error})', at) from error

    return Recording(request.path, 'aedat4', sizes[chosen], blocks, details=dict(streams=streams))


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Return where field ``number`` of the flatbuffer table at ``table`` lies, or None."""
    layout = table - struct.unpack_from('<i', buffer, table)[0]
    if layout < 0 or 4 + 2 * number + 2 > struct.unpack_from('<H', buffer, layout)[0]:
        return None
    offset = struct.unpack_from('<H', buffer, layout + 4 + 2 * number)[0]
    return table + offset if offset else None


def _header4(header: bytes) -> tuple[int, int, str]:
    """Return the compression, the end of the packets (-1: not known) and the description."""
    table = struct.unpack_from('<I', header)[0]
    at = [_field(header, table, number) for number in range(3)]
    method = 0 if at[0] is None else struct.unpack_from('<i', header, at[0])[0]
    end = -1 if at[1] is None else struct.unpack_from('<q', header, at[1])[0]
    if at[2] is None:
        raise ValueError('it describes no streams')
    text = at[2] + struct.unpack_from('<I', header, at[2])[0]
    length = struct.unpack_from('<I', header, text)[0]
    return method, end, header[text + 4:text + 4 + length].decode('utf-8')


def _streams4(description: str) -> tuple[dict[int, str], dict[int, tuple[int, int] | None]]:
    """Return the names and the sensors' sizes of the streams of events by their numbers."""
    import xml.etree.ElementTree as tree
    if '<!' in description:
        raise ValueError('the description of the streams has a document type')
    streams, sizes = {}, {}
    for node in tree.fromstring(description).iter('node'):
        values = {attr.get('key'): attr.text for attr in node.findall('attr')}
        if values.get('typeIdentifier') != 'EVTS' or not node.get('name', '').isdigit():
            continue
        info = {attr.get('key'): attr.text for attr in node.findall("node[@name='info']/attr")}
        number = int(node.get('name'))
        streams[number] = info.get('source') or values.get('originalOutputName') or 'events'
        sizes[number] = (int(info['sizeY']), int(info['sizeX'])) if {'sizeX', 'sizeY'} <= set(
            info) else None
    return streams, sizes


def _decompressor(method: int, request: Request):
    """Return the function that unpacks a packet of the header's compression."""
    if method == 0:
        return lambda data: data
    package = {1: 'lz4', 2: 'lz4', 3: 'zstandard', 4: 'zstandard'}.get(method)
    if package is None:
        raise RecordingError(request.path, f'compression {method}; expected 0 (none), 1, 2 (LZ4), '
                             '3 or 4 (Zstandard)', 18)
    try:
        if package == 'lz4':
            import lz4.frame
            return lz4.frame.decompress
        import zstandard
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{request.path}: packets of this AEDAT 4 file are compressed; '
                                  f'reading them needs {package}: pip install {package}',
                                  name=package) from error
    return lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)


_EVENT4 = np.dtype(dict(names=['t', 'x', 'y', 'p'], formats=['<i8', '<i2', '<i2', 'u1'],
                        offsets=[0, 8, 10, 12], itemsize=16))


def _events4(packet: bytes, offset: int) -> Block:
    """Return the events of an unpacked packet: its size, then a flatbuffer with one vector."""
    size = struct.unpack_from('<I', packet)[0]
    if size + 4 > len(packet) or packet[8:12] != b'EVTS':
        raise ValueError(f'{len(packet)} bytes, of which {size} are said to be a packet of events')
    table = 4 + struct.unpack_from('<I', packet, 4)[0]
    at = _field(packet, table, 0)
    if at is None:
        events = np.zeros(0, _EVENT4)
    else:
        vector = at + struct.unpack_from('<I', packet, at)[0]
        number = struct.unpack_from('<I', packet, vector)[0]
        events = np.frombuffer(packet, _EVENT4, number, vector + 4)
    return Block(events['x'], events['y'], events['t'], events['p'], offset)
