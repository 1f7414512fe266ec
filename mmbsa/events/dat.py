"""Prophesee's .dat recordings (N-CARS and others)."""
import os

import numpy as np

from mmbsa.events.array import make_events


def read_dat(path: str | os.PathLike) -> np.ndarray:
    """Read the CD events of a .dat file: header lines that start with ``%``, two bytes (event type, event size), then per
    event a 32-bit time in microseconds and a 32-bit word with x in bits 0-13, y in bits 14-27 and the polarity in bit 28.

    Returns:
        Events (N,) of ``EVENT_DTYPE``.

    Raises:
        ValueError: Another event size than 8 bytes, or a file that is cut off; the message names it.
    """
    with open(path, 'rb') as file:
        content = file.read()
    start = 0
    while content[start:start + 1] == b'%':
        end = content.find(b'\n', start)
        if end < 0:
            raise ValueError(f'{path}: the header does not end')
        start = end + 1
    size = content[start + 1:start + 2]
    if size != b'\x08':
        raise ValueError(f'{path}: expected events of 8 bytes, the header says {size[0] if size else "nothing"}')
    body = memoryview(content)[start + 2:]
    if len(body) % 8:
        raise ValueError(f'{path}: {len(body)} bytes of events are no whole number of events; the file is cut off')
    words = np.frombuffer(body, '<u4').reshape(-1, 2)
    address = words[:, 1]
    return make_events(address & 0x3FFF, address >> 14 & 0x3FFF, words[:, 0], address >> 28 & 1)
