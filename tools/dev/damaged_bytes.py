"""Damage of the bytes of files."""

import numpy as np


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, overwrite, repeat or swap parts of a file."""
    raw, kind = bytearray(data), rng.integers(7)
    if kind == 0:  # single bits
        for place in rng.integers(0, len(raw), rng.integers(1, 20)):
            raw[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        raw = raw[: int(rng.integers(0, len(raw)))]
    elif kind == 2:  # a run of noise
        begin, length = int(rng.integers(len(raw))), int(rng.integers(1, 200))
        raw[begin : begin + length] = rng.bytes(length)
    elif kind == 3:  # bytes that may be a size in a header
        begin = int(rng.integers(0, min(len(raw), 200)))
        raw[begin : begin + 4] = b'\xff\xff\xff\x7f' if rng.random() < 0.5 else b'\x7f\xff\xff\xff'
    elif kind == 4:
        begin = int(rng.integers(len(raw)))
        raw = raw[begin:] + raw[:begin]
    elif kind == 5:
        raw = raw * int(rng.integers(2, 4))
    else:
        raw = bytearray(rng.bytes(int(rng.integers(0, 500))))
    return bytes(raw)
