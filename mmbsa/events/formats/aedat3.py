"""Reader of AEDAT 3 (cAER): packets of events, frames and measurements of several devices."""

import re
import struct
from collections.abc import Iterator

import numpy as np

from mmbsa.events.formats.source import (
    LARGEST,
    Block,
    Recording,
    RecordingError,
    Request,
    Source,
    TruncatedError,
    choose_stream,
    header_lines,
)

#: device of AEDAT 3 -> (height, width)
SIZES3 = {
    'dvs128': (128, 128),
    'davis128': (128, 128),
    'davis208': (192, 208),
    'davis240': (180, 240),
    'davis346': (260, 346),
    'davis640': (480, 640),
}


def open_aedat3(request: Request) -> Recording:
    """Open AEDAT 3: header lines, then packets of a 28-byte header and events of one size.

    Polarity events (type 1) have 64 bits: valid in bit 0, the polarity in bit 1, y in bits 2-16, x
    in bits 17-31, 31 bits of the time; the packet has the upper bits of the time. Invalid events
    and packets of other types are skipped. ``request.part`` selects a source by its number.

    Raises:
        RecordingError: the encoding is not RAW, or there are several sources and no ``part``.
    """
    lines, start = header_lines(request, b'#', '!end-header')
    text = '\n'.join(lines)
    encoding = re.search(r'^#\s*Format:\s*(\S+)', text, re.M)
    if encoding and encoding[1].upper() != 'RAW':
        raise RecordingError(
            request.path, f'AEDAT 3 in the encoding {encoding[1]!r}; expected RAW', 0
        )
    sources = {
        int(number): name.strip()
        for number, name in re.findall(r'^#\s*Source\s+(\d+):\s*(.+)$', text, re.M)
    }
    chosen = choose_stream(request, sources, None)
    device = '' if chosen is None else sources.get(chosen, '').lower()
    size = next((size for name, size in SIZES3.items() if device.startswith(name)), None)

    def blocks() -> Iterator[Block]:
        with Source(request, start) as source:
            while head := source.exactly(28, 'a packet header'):
                kind, origin = struct.unpack_from('<HH', head)
                length, _, turns, capacity, number = struct.unpack_from('<5i', head, 4)
                at = source.offset - 28
                if (
                    min(length, capacity, number) < 0
                    or number > capacity
                    or (length * capacity > LARGEST)
                ):
                    raise RecordingError(
                        request.path,
                        f'a packet of {number} of {capacity} events of {length} bytes'
                        '; the packet header is damaged',
                        at,
                    )
                data = source.exactly(length * capacity, 'a packet')
                if len(data) < length * capacity:
                    raise TruncatedError(request.path, 'a packet header without its events', at)
                if kind != 1 or (chosen is not None and origin != chosen):
                    continue
                if length != 8:
                    raise RecordingError(
                        request.path, f'polarity events of {length} bytes; expected 8', at + 4
                    )
                words = np.frombuffer(data, '<u4', 2 * number).reshape(-1, 2)
                words = words[words[:, 0] & 1 == 1]
                word = words[:, 0]
                t = words[:, 1].astype(np.int64) + (turns << 31)
                yield Block(word >> 17, word >> 2 & 0x7FFF, t, word >> 1 & 1, at + 28)

    return Recording(
        request.path, 'aedat3', size, blocks, details=dict(sources=sources), has_parts=True
    )
