"""Reader of AEDAT 1 and 2 (jAER): pairs of a 16- or 32-bit address and a 32-bit time, big-endian.

The meaning of an address depends on the camera's chip; iniVation's page "AEDAT 2.0" has the tables.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmbsa.events.array import check_size
from mmbsa.events.formats.source import (
    Block,
    Recording,
    RecordingError,
    Request,
    Source,
    Unwrap,
    header_lines,
)


class Layout(NamedTuple):
    """Position of x, y and p in the addresses of a chip: (shift, bits).

    Words with a bit of ``others`` set are not events of the sensor (frames, inertial measurements,
    triggers).
    """

    x: tuple[int, int]
    y: tuple[int, int]
    p: tuple[int, int]
    others: int
    size: tuple[int, int] | None


_DVS128 = Layout((1, 7), (8, 7), (0, 1), 0xFFFF8000, (128, 128))
_DAVIS = Layout((12, 10), (22, 9), (11, 1), 0x80000400, None)
#: name -> layout. Columns, rows and polarities of all but 'cifar10-dvs' are those of the address
#: (jAER's origin is the lower left corner). CIFAR10-DVS is DVS128 rotated upright.
LAYOUTS = {
    'dvs128': _DVS128,
    'cifar10-dvs': _DVS128,
    'davis': _DAVIS,
    'davis240': _DAVIS._replace(size=(180, 240)),
    'davis346': _DAVIS._replace(size=(260, 346)),
    'davis640': _DAVIS._replace(size=(480, 640)),
    'davis128': _DAVIS._replace(size=(128, 128)),
    'davis208': _DAVIS._replace(size=(192, 208)),
}
#: sensor size -> layout, for sizes that only one layout has
_BY_SIZE = {
    layout.size: name
    for name, layout in LAYOUTS.items()
    if name.startswith('davis2') or name in ('davis346', 'davis640')
}


def chip_of(lines: list[str]) -> str | None:
    """Return the chip that the header names (``AEChip``, else a known interface), or None."""
    for key in ('AEChip', 'HardwareInterface'):
        for line in lines:
            found = re.match(rf'#\s*{key}:\s*(.+)', line, re.I)
            if found and (key == 'AEChip' or layout_of(found[1])):
                return found[1].strip()
    return None


def layout_of(chip: str) -> str | None:
    """Return the name of a chip's layout, or None for an unknown chip."""
    words = re.split(r'[.\s]', chip.lower())
    if any('stereo' in word for word in words):
        return None  # bit 15 identifies the eye
    for word in reversed(words):
        davis = re.search(r'davis(\d+)', word)
        if davis:
            return f'davis{davis[1]}' if f'davis{davis[1]}' in LAYOUTS else 'davis'
        if re.search(r'(tmpdiff|dvs)128', word):
            return 'dvs128'
        if re.match(r'sbret|davis', word):
            return 'davis'
    return None


def _choose(request: Request, chip: str | None, version: int) -> tuple[str, Layout]:
    """Return the layout of a file from the argument, the chip in the header, or the sensor size."""
    named = None if chip is None else layout_of(chip)
    wanted = request.layout
    if wanted is not None and named is not None and LAYOUTS[wanted][:3] != LAYOUTS[named][:3]:
        raise RecordingError(
            request.path,
            f'layout={wanted!r} is set, but the header names '
            f'the chip {chip!r}, which has the layout {named!r}',
            0,
        )
    if chip is not None and named is None and wanted is None:
        raise RecordingError(
            request.path,
            f'AEDAT {version} of the chip {chip!r}, whose addresses '
            f'are unknown; expected one of {tuple(LAYOUTS)}, or set layout=',
            0,
        )
    name = wanted or named
    if name is None:
        size = request.sensor_size and check_size(request.sensor_size)
        name = None if size is None else _BY_SIZE.get(size)
        if size == (128, 128) or version == 1:
            name = 'dvs128'
    if name is None:
        raise RecordingError(
            request.path,
            f'AEDAT {version} whose header names no chip (AEChip), so the '
            'meaning of its addresses is unknown; set sensor_size=(height, width) or layout=, '
            f'one of {tuple(LAYOUTS)}',
            0,
        )
    if version == 1 and LAYOUTS[name].y != _DVS128.y:
        raise RecordingError(
            request.path,
            f'AEDAT 1 has addresses of 16 bits, into which the layout {name!r} does not fit',
            0,
        )
    return name, LAYOUTS[name]


def _check_width(path: Path, address: np.ndarray, name: str, offset: int) -> None:
    """Raise RecordingError if addresses have more or fewer bits than a guessed layout.

    A DVS128 writes 16 bits. At least one of a hundred addresses of a DAVIS has more.
    """
    widest, narrow = int(address.max(initial=0)), LAYOUTS[name].y == _DVS128.y
    if narrow and widest > 0xFFFF or not narrow and widest <= 0xFFFF and len(address) >= 100:
        raise RecordingError(
            path,
            f'addresses up to 0x{widest:X} do not fit the layout {name!r}; '
            'the header names no chip (AEChip)',
            offset,
        )


def open_aedat(request: Request) -> Recording:
    """Open AEDAT 1 or 2.

    The layout of the addresses is ``request.layout``, else that of the chip in the header, else
    that of the sensor size; AEDAT 1 without a chip is a DVS128.

    Raises:
        RecordingError: the chip is unknown, neither a chip nor a size is known, or the layout
            contradicts the header.
    """
    lines, start = header_lines(request, b'#', 'end of ascii header')
    version = 2 if lines and lines[0].startswith('#!AER-DAT2') else 1
    pair = np.dtype([('address', '>u4' if version == 2 else '>u2'), ('t', '>u4')])
    chip = chip_of(lines)
    name, layout = _choose(request, chip, version)

    def blocks() -> Iterator[Block]:
        unwrap = Unwrap(32)
        with Source(request, start) as source:
            for offset, data in source.units(pair.itemsize):
                pairs = np.frombuffer(data, pair)
                address = pairs['address'].astype(np.uint32)
                if chip is None:
                    _check_width(request.path, address, name, offset)
                sensed = address & np.uint32(layout.others) == 0
                x, y, p = (address[sensed] >> shift & (1 << bits) - 1 for shift, bits in layout[:3])
                if name == 'cifar10-dvs':
                    x, y, p = 127 - y, 127 - x, 1 - p
                stride = pair.itemsize if sensed.all() else 0
                yield Block(x, y, unwrap(pairs['t'])[sensed], p, offset, stride)

    size = layout.size
    return Recording(
        request.path, f'aedat{version}', size, blocks, details=dict(chip=chip, layout=name)
    )
