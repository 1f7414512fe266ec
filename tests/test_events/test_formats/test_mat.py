"""MATLAB files: what scipy writes is read, compressed or not; other contents are described."""

import event_writers as write
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mmbsa import events as ev
from mmbsa.events.formats.mat import read_arrays
from mmbsa.events.formats.source import Request


@pytest.mark.parametrize('compress', [False, True])
def test_arrays_are_those_of_scipy(tmp_path, compress):
    rng = np.random.default_rng(0)
    arrays = {
        f'a_{dtype}': (rng.random((3, 5)) * 100).astype(dtype)
        for dtype in ('f8', 'f4', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8')
    }
    arrays |= dict(
        one=np.array([[7.0]]),
        cube=rng.random((2, 3, 4)),
        empty=np.zeros((0, 4)),
        a_long_name_of_a_variable=np.arange(9)[None],
    )
    savemat(
        tmp_path / 'a.mat',
        arrays
        | dict(text='words', cell=np.array([1, 'x'], object), struct=dict(x=1), z=np.array([1j])),
        do_compression=compress,
    )
    ours = read_arrays(Request(tmp_path / 'a.mat'))
    assert set(ours) == set(arrays)
    for name, theirs in loadmat(tmp_path / 'a.mat').items():
        if name in ours:
            assert ours[name].dtype == theirs.dtype and np.array_equal(ours[name], theirs)


def test_a_file_without_events_is_described(tmp_path):
    savemat(tmp_path / 'a.mat', dict(image=np.zeros((3, 3)), x=[1]))
    with pytest.raises(ev.RecordingError, match=r"a.mat: .*found \['image', 'x'\]"):
        ev.read_events(tmp_path / 'a.mat')
    savemat(tmp_path / 'b.mat', dict(x=[1, 2], y=[1, 2], ts=[1, 2], pol=[1]))
    with pytest.raises(ev.RecordingError, match='b.mat: .*one length'):
        ev.read_events(tmp_path / 'b.mat')


@pytest.mark.parametrize('compress', [False, True])
def test_a_damaged_file_is_an_error_and_not_a_crash(tmp_path, compress):
    events = write.some_events(40)
    path, rng, errors = tmp_path / 'a.mat', np.random.default_rng(0), 0
    savemat(path, {name: events[name] for name in 'xytp'}, do_compression=compress)
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        place = int(rng.integers(120, len(content)))
        damaged[place : place + 4] = rng.bytes(4)
        path.write_bytes(damaged[: rng.choice([len(damaged), place + 4])])
        try:
            ev.read_events(path)
        except ev.RecordingError as error:
            assert str(path) in str(error)
            errors += 1
    assert errors > 100


def test_a_stmnist_recording(tmp_path):
    train = np.zeros((101, 3))
    train[37, 0], train[99, 1], train[0, 1], train[5, 2] = 1, -1, 1, 1
    train[100] = 0.25, 0.5, 0.75
    savemat(tmp_path / 'a.mat', dict(spiketrain=train))
    assert ev.read_events(tmp_path / 'a.mat').tolist() == [
        (3, 7, 250_000, 1),
        (0, 0, 500_000, 1),
        (9, 9, 500_000, 0),
        (0, 5, 750_000, 1),
    ]
