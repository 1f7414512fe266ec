"""Reader of the 40-bit events of N-MNIST and N-Caltech101 (Orchard et al., 2015).

The files have no header.
"""

from collections.abc import Iterator

import numpy as np

from mmbsa.events.formats.source import Block, Recording, Request, Source

#: a row beyond the ATIS sensor's 240 is not an event; it adds OVERFLOW microseconds to the times
MARK, OVERFLOW = 240, 2**13


def open_atis_bin(request: Request) -> Recording:
    """Open a .bin file: 8 bits x, 8 bits y, 1 bit polarity, 23 bits time (us) per event."""

    def blocks() -> Iterator[Block]:
        late = 0
        with Source(request) as source:
            for offset, data in source.units(5):
                rows = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
                marks = rows[:, 1] == MARK
                t = (rows[:, 2] & 127) << 16 | rows[:, 3] << 8 | rows[:, 4]
                overflow = late + OVERFLOW * np.cumsum(marks)
                late = int(overflow[-1])
                events = ~marks
                rows, t = rows[events], (t + overflow)[events]
                stride = 5 if events.all() else 0
                yield Block(rows[:, 0], rows[:, 1], t, rows[:, 2] >> 7, offset, stride)

    return Recording(request.path, 'atis_bin', None, blocks)
