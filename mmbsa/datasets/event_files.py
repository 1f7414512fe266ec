"""Recordings as events, whatever their format."""
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmbsa.datasets.readers import spikingjelly_readers
from mmbsa.events import check_fields, make_events, read_dat


def _read_atis_bin(path: Path) -> np.ndarray:
    if path.stat().st_size % 5:
        raise ValueError(f'{path.stat().st_size} bytes are no whole number of events of 5 bytes; the file is cut off')
    columns = spikingjelly_readers().load_ATIS_bin(path)
    return make_events(*(columns[name] for name in 'xytp'))


def _read_cifar10_dvs(path: Path) -> np.ndarray:
    # the reader of SpikingJelly's own conversion, which has no public name
    columns = spikingjelly_readers().cifar10_dvs._load_origin_data(path)
    return make_events(*(columns[name] for name in 'xytp'))


def _read_numpy(path: Path) -> np.ndarray:
    loaded = np.load(path)
    if isinstance(loaded, np.ndarray):  # DVS-Lip: a structured array
        check_fields(loaded)
        return make_events(*(loaded[name] for name in 'xytp'))
    with loaded:
        if {'pos', 'neg'} <= set(loaded.files):  # ES-ImageNet: rows (y, x, t) of either polarity
            rows = np.concatenate([loaded['neg'], loaded['pos']])
            polarity = np.arange(len(rows)) >= len(loaded['neg'])
            order = np.argsort(rows[:, 2], kind='stable')
            return make_events(rows[order, 1], rows[order, 0], rows[order, 2], polarity[order])
        missing = set('xytp') - set(loaded.files)
        if missing:
            raise ValueError(f'expected the arrays x, y, t, p; missing {sorted(missing)}, found {sorted(loaded.files)}')
        return make_events(*(loaded[name] for name in 'xytp'))


def _read_audio(path: Path, part: int) -> np.ndarray:
    import h5py
    with h5py.File(path, 'r') as file:
        units, seconds = file['spikes/units'][part], file['spikes/times'][part]
    return make_events(units, np.zeros_like(units), np.round(np.asarray(seconds, np.float64) * 1e6), np.ones_like(units))


#: ending -> reader; SpikingJelly's readers where it has them
FORMATS: dict[str, Callable[[Path], np.ndarray]] = {
    '.npz': _read_numpy,
    '.npy': _read_numpy,
    '.bin': _read_atis_bin,
    '.dat': read_dat,
    '.aedat': _read_cifar10_dvs,
}


def read_events(path: str | os.PathLike, part: int | None = None) -> np.ndarray:
    """Read a recording by its ending, or one of the many recordings of an ``.h5`` file.

    ``.npz`` and ``.npy`` (arrays or fields x, y, t, p; ES-ImageNet's ``pos`` and ``neg``), ``.bin`` (N-MNIST,
    N-Caltech101: 40-bit events), ``.dat`` (N-CARS), ``.aedat`` (CIFAR10-DVS: AEDAT 2), ``.h5`` (SHD, SSC: x is the
    frequency channel, y is 0, p is 1, t is in microseconds).

    Args:
        path: The file.
        part: Which recording of an ``.h5`` file; None for files of one recording.

    Returns:
        Events (N,) of ``mmbsa.events.EVENT_DTYPE``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: An unknown ending, or content that cannot be read; the message names the file.
    """
    path = Path(path)
    if path.suffix not in (FORMATS if part is None else ('.h5', )):
        raise ValueError(f'{path}: expected a recording in one of the formats {tuple(FORMATS)}')
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such recording')
    try:
        return FORMATS[path.suffix](path) if part is None else _read_audio(path, part)
    except Exception as error:  # zip, pickle, numpy and the readers of SpikingJelly each have their own
        message = str(error).removeprefix(f'{path}: ')
        raise ValueError(f'{path}: not a readable recording ({type(error).__name__}: {message})') from error
