"""Formats of recordings: one file per family; the content of a file decides, not its name."""

from collections.abc import Callable
from pathlib import Path

from mmbsa.events.formats.aedat import open_aedat
from mmbsa.events.formats.aedat3 import open_aedat3
from mmbsa.events.formats.aedat4 import open_aedat4
from mmbsa.events.formats.arrays import open_npy, open_npz
from mmbsa.events.formats.atis_bin import open_atis_bin
from mmbsa.events.formats.hdf5 import open_hdf5
from mmbsa.events.formats.mat import open_mat
from mmbsa.events.formats.prophesee import open_dat, open_evt
from mmbsa.events.formats.source import Recording, RecordingError, Request

#: format -> the function that opens it
OPENERS: dict[str, Callable[[Request], Recording]] = dict(
    aedat=open_aedat,
    aedat3=open_aedat3,
    aedat4=open_aedat4,
    atis_bin=open_atis_bin,
    dat=open_dat,
    evt=open_evt,
    hdf5=open_hdf5,
    mat=open_mat,
    npy=open_npy,
    npz=open_npz,
)
#: endings of recordings; the content of a file decides how it is read
ENDINGS = ('.aedat', '.aedat4', '.bin', '.dat', '.h5', '.hdf5', '.mat', '.npy', '.npz', '.raw')


def identify(path: Path) -> str:
    """Return the name of a file's format from its first bytes, or from its ending.

    Formats without a signature are ``.bin`` (40-bit events) and AEDAT 1 without a header.

    Raises:
        RecordingError: the format is unknown; the message quotes the first bytes.
    """
    with open(path, 'rb') as file:
        head = file.read(2**14)
    ending = path.suffix.lower()
    if head.startswith(b'#!AER-DAT'):
        version = head[9:10]
        if version not in (b'1', b'2', b'3', b'4'):
            raise RecordingError(
                path, f'AEDAT of version {head[9:12]!r}; expected 1.0, 2.0, 3.1 or 4.0', 9
            )
        return {b'3': 'aedat3', b'4': 'aedat4'}.get(version, 'aedat')
    for mark, name in (
        (b'\x89HDF\r\n\x1a\n', 'hdf5'),
        (b'\x93NUMPY', 'npy'),
        (b'PK\x03\x04', 'npz'),
        (b'PK\x05\x06', 'npz'),
        (b'MATLAB 5.0', 'mat'),
    ):
        if head.startswith(mark):
            return name
    if head[512:520] == b'\x89HDF\r\n\x1a\n':  # MATLAB 7.3
        return 'hdf5'
    if head.startswith(b'%'):
        lines = [line for line in head.split(b'\n') if line.startswith(b'%')]
        raw = any(b'evt' in line.lower().split() or b'format evt' in line.lower() for line in lines)
        return 'evt' if raw or ending == '.raw' else 'dat'
    if ending == '.dat' and head[:2] in (b'\x00\x08', b'\x0c\x08'):
        return 'dat'
    if ending == '.bin':
        return 'atis_bin'
    if ending == '.aedat':
        return 'aedat'
    raise RecordingError(
        path,
        f'the beginning {head[:12]!r} is of no known format; expected one of {tuple(OPENERS)}',
        0,
    )
