"""Reader of HDF5 recordings: Prophesee, DSEC, MVSEC, plain columns, and spikes of audio (SHD)."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmbsa.events.formats.arrays import find_columns
from mmbsa.events.formats.source import (
    BLOCK,
    Block,
    Recording,
    RecordingError,
    Request,
    TruncatedError,
)

#: filters that are not part of HDF5: number -> (name, how to install it)
FILTERS = {
    32001: ('Blosc', 'pip install hdf5plugin'),
    32004: ('LZ4', 'pip install hdf5plugin'),
    32008: ('Bitshuffle', 'pip install hdf5plugin'),
    32015: ('Zstandard', 'pip install hdf5plugin'),
    32026: ('Blosc2', 'pip install hdf5plugin'),
    36559: ("Prophesee's ECF", 'install hdf5_ecf and set HDF5_PLUGIN_PATH'),
}


def _check_filters(path, dataset: Any) -> None:
    """Raise ModuleNotFoundError if the filter of a dataset's compression is not installed."""
    import h5py

    settings = dataset.id.get_create_plist()
    for index in range(settings.get_nfilters()):
        number = settings.get_filter(index)[0]
        if h5py.h5z.filter_avail(number):
            continue
        try:
            import hdf5plugin  # noqa: F401 - registers its filters
        except ModuleNotFoundError:
            pass
        if not h5py.h5z.filter_avail(number):
            name, remedy = FILTERS.get(number, (f'number {number}', 'install its HDF5 plugin'))
            raise ModuleNotFoundError(
                f'{path}: {dataset.name} is compressed with the HDF5 filter '
                f'{name}, which is missing here: {remedy}'
            )


def open_hdf5(request: Request) -> Recording:
    """Open an HDF5 file by its content; h5py is required.

    * ``CD/events`` with the fields x, y, p, t (Prophesee);
    * a group ``events`` with x, y, t, p (DSEC, whose ``t_offset`` is added to the times), or these
      columns at the top level; floating-point times are seconds;
    * ``davis/left/events`` (MVSEC: rows x, y, seconds, polarity); ``part`` is left or right;
    * ``spikes/units`` and ``spikes/times`` (SHD, SSC): ``part`` is the number of a recording; x is
      the frequency channel, y is 0, p is 1;
    * ``train_addresses/<name>`` and ``train_timestamps/<name>``, and the same with ``test``
      (N-TIDIGITS): ``part`` is ``'train/<name>'`` or ``'test/<name>'``; x is the channel, y is 0, p
      is 1.

    Raises:
        RecordingError: the content is none of these; the message lists the content.
        ModuleNotFoundError: h5py, or the filter of the compression, is missing.
    """
    import h5py

    try:
        opened = h5py.File(request.path, 'r')
    except OSError as error:
        whole = re.search(r'truncated file.*stored_eof = (\d+)', str(error))
        if whole is None:
            raise
        raise TruncatedError(
            request.path,
            f'the file is truncated: it has {request.path.stat().st_size} of the {whole[1]} bytes '
            'that its header states, and HDF5 opens whole files only',
        ) from error
    with opened as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        if 'spikes/units' in names:
            return _audio(request, len(file['spikes/units']))
        if {'train_labels', 'test_labels'} <= set(names):
            return _digits(request, set(names))
        if 'CD/events' in names:
            return _table(request, 'CD/events', _size(file.get('CD/events')) or _size(file))
        tables = [name for name in names if name.startswith('davis/') and name.endswith('/events')]
        if tables:
            return _mvsec(request, tables)
        for name in ('events', 'CD/events', ''):
            if isinstance(file.get(name) if name else file, h5py.Dataset):
                return _table(request, name, _size(file))
            group = file.get(name) if name else file
            if isinstance(group, h5py.Group):
                try:
                    columns = find_columns(group)
                except ValueError:
                    continue
                return _columns(
                    request,
                    {field: f'{name}/{column}'.lstrip('/') for field, column in columns.items()},
                    _size(file),
                )
    raise RecordingError(
        request.path,
        'expected CD/events, events/{x,y,t,p}, davis/left/events, spikes/units or '
        f'train_labels in the HDF5 file, found {sorted(names)[:12]}',
    )


def _size(item: Any) -> tuple[int, int] | None:
    """Return (height, width) if the attributes of a file or dataset state them, otherwise None."""
    if item is None:
        return None
    attributes = {key.lower(): value for key, value in item.attrs.items()}
    if {'height', 'width'} <= set(attributes):
        return int(attributes['height']), int(attributes['width'])
    geometry = attributes.get('geometry')
    if geometry is not None:
        text = geometry.decode() if isinstance(geometry, bytes) else str(geometry)
        width, _, height = text.partition('x')
        if width.isdigit() and height.isdigit():
            return int(height), int(width)
    return None


def _table(request: Request, name: str, size: tuple[int, int] | None) -> Recording:
    import h5py

    with h5py.File(request.path, 'r') as file:
        fields = file[name].dtype.names
        if fields is None:
            raise RecordingError(
                request.path,
                f'{name} should have the fields x, y, p, t, but is '
                f'{file[name].dtype} of shape {file[name].shape}',
            )
        columns = find_columns(fields)
        _check_filters(request.path, file[name])

    def blocks() -> Iterator[Block]:
        with h5py.File(request.path, 'r') as file:
            for first in range(0, len(file[name]), BLOCK):
                rows = file[name][first : first + BLOCK]
                yield Block(*(rows[columns[field]] for field in 'xytp'))

    return Recording(request.path, 'hdf5', size, blocks, details=dict(layout=name))


def _columns(request: Request, columns: dict[str, str], size: tuple[int, int] | None) -> Recording:
    import h5py

    with h5py.File(request.path, 'r') as file:
        shapes = {field: file[name].shape for field, name in columns.items()}
        if len(set(shapes.values())) != 1 or len(shapes['t']) != 1:
            raise RecordingError(
                request.path,
                f'x, y, t and p must be sequences of one length, got the shapes {shapes}',
            )
        for name in columns.values():
            _check_filters(request.path, file[name])
        unit = 's' if file[columns['t']].dtype.kind == 'f' else 'us'
        start = 0
        if 't_offset' in file and unit == 'us':
            start = int(np.asarray(file['t_offset'][()]).reshape(-1)[0])

    def blocks() -> Iterator[Block]:
        with h5py.File(request.path, 'r') as file:
            for first in range(0, shapes['t'][0], BLOCK):
                x, y, t, p = (file[columns[field]][first : first + BLOCK] for field in 'xytp')
                yield Block(x, y, t.astype(np.int64) + start if start else t, p)

    return Recording(
        request.path,
        'hdf5',
        size,
        blocks,
        unit,
        dict(layout=columns['t'].rpartition('/')[0] or 'columns', t_offset=start),
    )


def _mvsec(request: Request, tables: list[str]) -> Recording:
    import h5py

    sides = {name.split('/')[1]: name for name in tables}
    part = request.part
    if part not in sides and (part is not None or len(sides) > 1):
        raise RecordingError(
            request.path, f'it holds the cameras {sorted(sides)}; choose one by part=, got {part!r}'
        )
    name = sides[part] if part is not None else tables[0]
    with h5py.File(request.path, 'r') as file:
        if len(file[name].shape) != 2 or file[name].shape[1] != 4:
            raise RecordingError(
                request.path,
                f'{name} should have rows x, y, t, p, but is of the shape {file[name].shape}',
            )
        _check_filters(request.path, file[name])

    def blocks() -> Iterator[Block]:
        with h5py.File(request.path, 'r') as file:
            for first in range(0, len(file[name]), BLOCK):
                yield Block(*file[name][first : first + BLOCK].T)

    return Recording(
        request.path, 'hdf5', (260, 346), blocks, 's', dict(layout=name), has_parts=True
    )


def _audio(request: Request, count: int) -> Recording:
    import h5py

    part = request.part
    if isinstance(part, bool) or not isinstance(part, int | np.integer) or not 0 <= part < count:
        raise RecordingError(
            request.path,
            f'it holds {count} recordings of spikes; choose one by '
            f'part= in 0..{count - 1}, got {part!r}',
        )

    def blocks() -> Iterator[Block]:
        with h5py.File(request.path, 'r') as file:
            yield _spikes(file['spikes/units'][part], file['spikes/times'][part])

    return Recording(request.path, 'hdf5', None, blocks, 's', dict(layout='spikes'), has_parts=True)


def _digits(request: Request, names: set[str]) -> Recording:
    import h5py

    part = request.part
    split, _, name = str(part).partition('/')
    channels, times = f'{split}_addresses/{name}', f'{split}_timestamps/{name}'
    if not {channels, times} <= names:
        count = sum('_addresses/' in name for name in names)
        raise RecordingError(
            request.path,
            f"it holds {count} recordings of spikes; choose one by part='train/<name>' or "
            f"'test/<name>', got {part!r}",
        )

    def blocks() -> Iterator[Block]:
        with h5py.File(request.path, 'r') as file:
            yield _spikes(file[channels][()], file[times][()])

    return Recording(
        request.path, 'hdf5', (1, 64), blocks, 's', dict(layout='addresses'), has_parts=True
    )


def _spikes(channel: np.ndarray, seconds: np.ndarray) -> Block:
    """Return spikes of frequency channels as sorted events."""
    seconds = np.asarray(seconds, np.float64)
    order = np.argsort(seconds, kind='stable')
    ones = np.ones(len(channel), np.int8)
    return Block(channel[order], np.zeros_like(channel), seconds[order], ones)
