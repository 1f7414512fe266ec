"""Reader of MATLAB 5 files: ASL-DVS, UCF101-DVS, HMDB51-DVS, ST-MNIST.

Only arrays of real numbers are read, as specified in "MAT-File Level 5 File Format" (MathWorks).
scipy.io.loadmat is not used, because damaged files can crash the interpreter with it.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from mmbsa.events.formats.arrays import equal_length, find_columns
from mmbsa.events.formats.source import LARGEST, Block, Recording, RecordingError, Request

MATRIX, COMPRESSED = 14, 15
#: type of stored numbers -> numpy type
TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
#: class of an array -> numpy type; other classes (cells, structures, text, sparse) are not columns
CLASSES = {
    6: 'f8',
    7: 'f4',
    8: 'i1',
    9: 'u1',
    10: 'i2',
    11: 'u2',
    12: 'i4',
    13: 'u4',
    14: 'i8',
    15: 'u8',
}


def _elements(data: bytes, start: int, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of the elements in ``data`` from byte ``start`` on."""
    while start < len(data):
        kind, size = struct.unpack_from(f'{order}II', data, start)
        if kind >> 16:  # the upper half of the type of a small element is its size
            kind, size, first, step = kind & 0xFFFF, kind >> 16, start + 4, 8
        else:
            first = start + 8
            step = 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if first + size > len(data):
            raise EOFError(f'an element of {size} bytes at byte {start} of {len(data)}; truncated')
        yield kind, data[first : first + size]
        start += step


def _array(content: bytes, order: str) -> tuple[str, np.ndarray | None]:
    """Return name and numbers of a matrix element; None instead of numbers for other content."""
    parts = _elements(content, 0, order)
    flags, lengths, letters = (next(parts)[1] for _ in range(3))
    name = letters.decode('latin-1')
    flag = struct.unpack_from(f'{order}I', flags)[0]
    kind, is_complex = flag & 0xFF, bool(flag & 0x800)
    if kind not in CLASSES or is_complex:
        return name, None
    shape = np.frombuffer(lengths, f'{order}i4')
    stored, numbers = next(parts, (6, b''))
    values = np.frombuffer(numbers, order + TYPES[stored])
    if (shape < 0).any() or int(np.prod(shape.astype(object))) != len(values):
        raise ValueError(f'{name} has {len(values)} numbers for the shape {tuple(shape.tolist())}')
    return name, values.reshape(shape, order='F').astype(CLASSES[kind])


def read_arrays(request: Request) -> dict[str, np.ndarray]:
    """Return name -> array of real numbers of a MATLAB 5 file."""
    content = request.path.read_bytes()
    order = {b'IM': '<', b'MI': '>'}.get(content[126:128])
    if order is None:
        raise RecordingError(
            request.path,
            f'the header ends in {content[124:128]!r}; expected the byte order IM or MI',
            126,
        )
    arrays = {}
    for kind, data in _elements(content, 128, order):
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, LARGEST)
            if not unpacker.eof:
                raise EOFError('a compressed array is truncated or very large')
            kind, data = next(_elements(data, 0, order))
        if kind == MATRIX and data:
            name, values = _array(data, order)
            if values is not None:
                arrays[name] = values
    return arrays


def open_mat(request: Request) -> Recording:
    """Open a MATLAB 5 file with vectors x, y, ts, pol, or ST-MNIST's ``spiketrain``.

    ``spiketrain`` is (101, N): the last row is the time in seconds, and row 10 x + y is the
    polarity of the taxel at (x, y): 1, -1, or 0 without an event.

    Raises:
        RecordingError: the file has other arrays; MATLAB 7.3 files are HDF5.
    """
    loaded = read_arrays(request)
    if 'spiketrain' in loaded:
        train = loaded['spiketrain']
        if train.ndim != 2 or len(train) != 101:
            raise RecordingError(
                request.path, f'expected a spiketrain of 101 rows, got the shape {train.shape}'
            )
        moment, taxel = np.nonzero(train[:-1].T)
        block = Block(taxel // 10, taxel % 10, train[-1, moment], train[taxel, moment])
        return Recording(request.path, 'mat', (10, 10), lambda: iter([block]), 's')
    columns = find_columns(loaded)
    arrays = {name: loaded[column] for name, column in columns.items()}
    equal_length(request.path, {name: array.shape for name, array in arrays.items()})
    x, y, t, p = (arrays[name].reshape(-1) for name in 'xytp')
    block = Block(x, y, t, p)
    return Recording(request.path, 'mat', None, lambda: iter([block]))
