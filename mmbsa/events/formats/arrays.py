"""Reader of numpy recordings: .npy and .npz."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import numpy as np

from mmbsa.events.formats.source import (
    BLOCK,
    Block,
    Recording,
    RecordingError,
    Request,
    TruncatedError,
)

#: field -> its names in data sets
NAMES = dict(
    x=('x', 'xs', 'x_coordinate', 'col'),
    y=('y', 'ys', 'y_coordinate', 'row'),
    t=('t', 'ts', 'timestamp', 'timestamps', 'time'),
    p=('p', 'ps', 'pol', 'polarity', 'polarities', 'on'),
)


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Return x, y, t, p -> the name in use; raise ValueError if one is missing."""
    there = list(names)
    lower = {name.lower(): name for name in there}
    found = {
        field: next(lower[name] for name in known if name in lower)
        for field, known in NAMES.items()
        if any(name in lower for name in known)
    }
    missing = sorted(set(NAMES) - set(found))
    if missing:
        raise ValueError(
            f'expected the arrays x, y, t, p; missing {missing}, found {sorted(there)}'
        )
    return found


def equal_length(path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the common length of all columns; (1, N) and (N, 1), as in MATLAB, are accepted.

    Args:
        path: the file, for the message.
        shapes: name of a column -> its shape.
    """
    long = {name: [length for length in shape if length != 1] for name, shape in shapes.items()}
    lengths = {tuple(sides) or (1,) for sides in long.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) > 1 or any(not s for s in shapes.values()):
        raise RecordingError(
            path, f'x, y, t and p must be sequences of one length, got the shapes {dict(shapes)}'
        )
    return next(iter(lengths))[0]


class _Stream:
    """An .npy array that is read sequentially from an open file."""

    def __init__(self, file: IO[bytes], path, name: str) -> None:
        self.file, self.path, self.name = file, path, name
        try:
            version = np.lib.format.read_magic(file)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            self.shape, fortran, self.dtype = reader(file)
        except KeyError as error:
            raise RecordingError(path, f'{name} is an array file of version {error}') from error
        if self.dtype.hasobject:
            raise RecordingError(
                path, f'{name} holds Python objects, which are not supported; expected numbers'
            )
        if fortran and sum(length != 1 for length in self.shape) > 1:
            raise RecordingError(path, f'{name} is stored by columns; expected by rows')

    def read(self, number: int) -> np.ndarray:
        """Return the next ``number`` items of the first (or only) axis that is not 1."""
        item = self.dtype.itemsize * (
            self.shape[1]
            if len(self.shape) > 1 and self.shape[1] != 1 and self.shape[0] != 1
            else 1
        )
        data, parts = number * item, []
        while data:
            part = self.file.read(data)
            if not part:
                raise TruncatedError(
                    self.path,
                    f'{self.name} ends before its {self.shape} numbers do; the file is truncated',
                )
            parts.append(part)
            data -= len(part)
        return np.frombuffer(b''.join(parts), self.dtype)


def open_npy(request: Request) -> Recording:
    """Open an .npy file with a structured array (N,) with the fields x, y, t, p.

    Raises:
        RecordingError: the array has other fields; columns without names have no known order.
    """
    with open(request.path, 'rb') as file:
        stream = _Stream(file, request.path, 'the array')
        start = file.tell()
    if stream.dtype.names is None:
        raise RecordingError(
            request.path,
            f'expected an array with the fields x, y, t, p; got shape '
            f'{stream.shape} of {stream.dtype}',
        )
    columns = find_columns(stream.dtype.names)
    count = equal_length(request.path, dict(events=stream.shape))

    def blocks() -> Iterator[Block]:
        item = stream.dtype.itemsize
        with open(request.path, 'rb') as file:
            body = _Stream(file, request.path, 'the array')
            for first in range(0, count, BLOCK):
                rows = body.read(min(BLOCK, count - first))
                x, y, t, p = (rows[columns[name]] for name in 'xytp')
                yield Block(x, y, t, p, start + first * item, item)

    return Recording(request.path, 'npy', None, blocks)


def open_npz(request: Request) -> Recording:
    """Open an .npz file with the arrays x, y, t, p, or ES-ImageNet's ``pos`` and ``neg``.

    ES-ImageNet has rows (y, x, t) for each polarity. The arrays are read in blocks and never as a
    whole, except those of ES-ImageNet, which are small.
    """
    try:
        with zipfile.ZipFile(request.path) as archive:
            members = [name.removesuffix('.npy') for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        if zipfile.is_zipfile(request.path):  # the list of arrays is there, but damaged
            raise
        raise TruncatedError(
            request.path,
            'the file is truncated: the list of its arrays, which an .npz file has at its end, is '
            f'missing after {request.path.stat().st_size} bytes, so no array can be read',
        ) from error
    if {'pos', 'neg'} <= set(members):
        return Recording(request.path, 'npz', None, lambda: iter([_es_imagenet(request)]))
    columns = find_columns(members)

    def blocks() -> Iterator[Block]:
        with zipfile.ZipFile(request.path) as archive:
            streams = {
                field: _Stream(archive.open(f'{name}.npy'), request.path, name)
                for field, name in columns.items()
            }
            count = equal_length(request.path, {name: s.shape for name, s in streams.items()})
            for first in range(0, max(count, 1), BLOCK):
                number = min(BLOCK, count - first)
                x, y, t, p = (streams[name].read(number) for name in 'xytp')
                yield Block(x, y, t, p)
            for stream in streams.values():
                stream.file.read(1)  # the checksum is compared at the end of a member
                stream.file.close()

    return Recording(request.path, 'npz', None, blocks)


def _es_imagenet(request: Request) -> Block:
    with np.load(request.path) as arrays:
        rows = [arrays[name] for name in ('neg', 'pos')]
    if any(part.ndim != 2 or part.shape[1] != 3 for part in rows):
        raise RecordingError(
            request.path,
            'expected rows (y, x, t) in neg and pos, got the shapes '
            f'{[part.shape for part in rows]}',
        )
    polarity = np.repeat([0, 1], [len(part) for part in rows])
    rows = np.concatenate(rows)
    order = np.argsort(rows[:, 2], kind='stable')
    return Block(rows[order, 1], rows[order, 0], rows[order, 2], polarity[order])
