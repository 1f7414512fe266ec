"""40-bit events."""

import numpy as np

from mmbsa import events as ev


def test_40_bit_events_go_on_after_overflow_marks(tmp_path):
    rows = [
        (1, 2, 0x80, 0, 5),
        (0, 240, 0, 0, 0),
        (3, 4, 0, 0, 6),
        (0, 240, 0, 0, 0),
        (5, 6, 0, 0, 7),
    ]
    (tmp_path / 'a.bin').write_bytes(np.array(rows, np.uint8).tobytes())
    assert ev.read_events(tmp_path / 'a.bin').tolist() == [
        (1, 2, 5, 1),
        (3, 4, 8192 + 6, 0),
        (5, 6, 16384 + 7, 0),
    ]
