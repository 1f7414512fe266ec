"""Reading recordings: every format by its content, in chunks, with one error or an asked repair."""

import pickle
import shutil
import sys
import threading
import time

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev
from mmbsa.events.formats import arrays, hdf5, source

FORMATS = pytest.mark.parametrize('name', sorted(write.WRITERS))
#: formats whose files can be cut anywhere and that have bytes of their own per event
RAW = (
    'aedat1',
    'aedat2 dvs128',
    'aedat2 davis240',
    'aedat3',
    'aedat4',
    'atis_bin',
    'dat',
    'evt2',
    'evt3',
    'npy',
)


def written(tmp_path, name, events, file=None):
    writer, ending = write.WRITERS[name]
    path = tmp_path / (file or f'a{ending}')
    writer(path, events)
    return path


@pytest.fixture
def small_blocks(monkeypatch):
    for module in (source, arrays, hdf5):
        monkeypatch.setattr(module, 'BLOCK', 37)


@FORMATS
def test_read_events_gives_the_events_written(tmp_path, name):
    events = write.some_events()
    assert np.array_equal(ev.read_events(written(tmp_path, name, events)), events)


@FORMATS
def test_read_events_needs_no_ending_where_the_content_has_a_mark(tmp_path, name):
    events = write.some_events()
    ending = write.WRITERS[name][1]
    path = written(tmp_path, name, events, f'A{ending.upper()}')
    assert np.array_equal(ev.read_events(path), events)
    if name in ('aedat1', 'atis_bin'):
        return
    for other in ('.bin', '.npz', '.dat', ''):
        shutil.copy(path, tmp_path / f'b{other}')
        assert np.array_equal(ev.read_events(tmp_path / f'b{other}'), events)


@FORMATS
def test_iter_events_gives_the_same_events_in_small_chunks(tmp_path, name, small_blocks):
    events = write.some_events()
    chunks = list(ev.iter_events(written(tmp_path, name, events)))
    assert np.array_equal(np.concatenate(chunks), events)
    if name != 'mat':
        assert len(chunks) > 2 and max(map(len, chunks)) <= 100


@pytest.mark.parametrize('name', RAW)
def test_a_file_that_is_cut_off_is_one_error_or_its_whole_events(tmp_path, name, small_blocks):
    events = write.some_events()
    path = written(tmp_path, name, events)
    content = path.read_bytes()
    for cut in (1, 3, 301):
        path.write_bytes(content[:-cut])
        if name == 'evt2' and (len(content) - cut) % 4 == 0:
            continue
        if name == 'aedat4' and cut < 17:
            continue  # the index, which is not read
        with pytest.raises(ev.TruncatedError, match=f'{path}: .*(byte|ends|end )') as error:
            ev.read_events(path)
        assert error.value.path == path
        if name != 'npy':
            assert 0 < error.value.offset <= len(content) - cut
        rest = ev.read_events(path, repair='truncated')
        assert 0 < len(rest) <= len(events) and np.array_equal(rest, events[: len(rest)])


def test_a_whole_number_of_bytes_is_no_proof_for_counted_formats(tmp_path):
    """A cut between packets or rows is found where the file says how much there is."""
    events = write.some_events()
    path = written(tmp_path, 'aedat4', events)
    body = path.read_bytes()
    place = body.rindex(b'frame')  # between the last packet and the index
    path.write_bytes(body[: place - 8])
    with pytest.raises(ev.TruncatedError, match='packets end at byte'):
        ev.read_events(path)
    np.savez(tmp_path / 'a.npz', x=[1, 2], y=[1, 2], t=[1, 2], p=[1])
    with pytest.raises(ev.RecordingError, match='one length'):
        ev.read_events(tmp_path / 'a.npz')


@pytest.mark.parametrize('name', ['npz', 'hdf5 prophesee', 'mat'])
def test_a_container_that_is_cut_off_is_one_error(tmp_path, name):
    path = written(tmp_path, name, write.some_events())
    content = path.read_bytes()
    for length in (0, 5, 100, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        with pytest.raises(ev.RecordingError, match=str(path)):
            ev.read_events(path)


@FORMATS
def test_events_out_of_order_are_an_error_or_sorted(tmp_path, name, small_blocks):
    events = write.some_events(span=4000)
    mixed = events.copy()
    mixed[[100, 140]] = events[[140, 100]]
    path = written(tmp_path, name, mixed)
    with pytest.raises(ev.RecordingError, match=f'{path}: .*event 10[01] has the time .* after'):
        ev.read_events(path)
    repaired = ev.read_events(path, repair='unsorted')
    assert np.array_equal(repaired, mixed[np.argsort(mixed['t'], kind='stable')])


@pytest.mark.parametrize(
    'name, stride',
    [('aedat2 davis240', 8), ('dat', 8), ('atis_bin', 5), ('aedat1', 6), ('npy', 13)],
)
def test_the_byte_of_a_fault_is_named(tmp_path, name, stride):
    events = write.some_events(span=4000)
    events['t'][100] = events['t'][140]
    path = written(tmp_path, name, events)
    start = len(path.read_bytes()) - stride * len(events)
    with pytest.raises(ev.RecordingError, match=f'at byte {start + 101 * stride} ') as error:
        ev.read_events(path)
    assert error.value.offset == start + 101 * stride


@FORMATS
def test_events_outside_the_sensor_are_an_error_or_left_out(tmp_path, name):
    events = write.some_events()
    path = written(tmp_path, name, events)
    out = np.flatnonzero(events['x'] >= 100)
    with pytest.raises(ev.RecordingError, match=f'event {out[0]} at x=.* sensor of 120 x 100 '):
        ev.read_events(path, sensor_size=(120, 100))
    kept = ev.read_events(path, sensor_size=(120, 100), repair='outside')
    assert np.array_equal(kept, events[events['x'] < 100])


def test_the_size_in_the_header_is_checked(tmp_path):
    events = write.some_events()
    write.write_dat(tmp_path / 'a.dat', events, size=(120, 90))
    with pytest.raises(ev.RecordingError, match='sensor of 120 x 90'):
        ev.read_events(tmp_path / 'a.dat')
    assert ev.open_recording(tmp_path / 'a.dat').size == (120, 90)
    assert len(ev.read_events(tmp_path / 'a.dat', sensor_size=(120, 128))) == 300


@FORMATS
def test_an_empty_recording_is_an_error_or_accepted(tmp_path, name):
    path = written(tmp_path, name, write.some_events(0))
    with pytest.raises(ev.RecordingError, match=f'{path}: .* no events'):
        ev.read_events(path)
    assert ev.read_events(path, repair='empty').shape == (0,)
    path.write_bytes(b'')
    for read in (ev.read_events, ev.open_recording):
        with pytest.raises(ev.RecordingError, match=f'{path}: .*the file is empty: it has 0 bytes'):
            read(path)
    assert ev.read_events(path, repair='empty').shape == (0,)


def test_several_repairs_at_once(tmp_path):
    events = write.some_events(span=4000)[::-1]
    path = written(tmp_path, 'dat', events)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ev.RecordingError, match='order of time'):
        ev.read_events(path, repair=('truncated', 'outside'))
    assert len(ev.read_events(path, repair=('truncated', 'unsorted'))) == 299
    repaired = ev.read_events(path, repair='all', sensor_size=(60, 128))
    assert (np.diff(repaired['t']) >= 0).all() and repaired['y'].max() < 60
    with pytest.raises(ValueError, match="repair must be some of .*'sorted'"):
        ev.read_events(path, repair='sorted')


@pytest.mark.parametrize(
    'arrays, message',
    [
        (dict(t=[0.2, 0.9]), "t is 0.2 at event 0.*time_unit='s'"),
        (dict(x=[1, -1]), r'x is in -1..1'),
        (dict(p=[2, 1]), 'p is 2 at event 0'),
        (dict(y=[np.nan, 1]), 'y is nan at event 0'),
        (dict(x=['a', 'b']), 'x has the type <U1'),
    ],
)
def test_bad_numbers_in_a_file_are_named(tmp_path, arrays, message):
    columns = dict(x=[1, 2], y=[1, 2], t=[1, 2], p=[0, 1]) | arrays
    np.savez(tmp_path / 'a.npz', **columns)
    with pytest.raises(ev.RecordingError, match=f'{tmp_path / "a.npz"}: .*{message}'):
        ev.read_events(tmp_path / 'a.npz')


def test_unknown_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.npz: no such recording'):
        ev.read_events(tmp_path / 'none.npz')
    for name, content, message in (
        ('a.txt', b'1 2 3 1\n', 'of no known format'),
        ('a.raw', b'% date\nxx', 'neither'),
        ('b.raw', b'% evt 2.1\n% end\n', 'EVT 2.1'),
        ('a.aedat', b'#!AER-DAT5.0\r\n', '5.0'),
        ('a.dat', b'% Version 2\n\x0e\x08', '0x0E'),
        ('b.dat', b'% Version 2\n\x00\x10', 'states 16'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ev.RecordingError, match=f'{name}: .*{message}'):
            ev.read_events(tmp_path / name)


@FORMATS
def test_a_part_of_a_file_with_one_recording_is_refused(tmp_path, name):
    path = written(tmp_path, name, write.some_events())
    if name == 'hdf5 mvsec':
        assert len(ev.read_events(path, 'left')) == 300
    elif name in ('aedat3', 'aedat4'):
        assert len(ev.read_events(path, 0)) == 300
    with pytest.raises(ev.RecordingError, match=f'{path}: .*part=7|got 7'):
        ev.read_events(path, 7)


def test_objects_in_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / 'a.npz', x=np.array([print], object), y=[1], t=[1], p=[1])
    np.save(tmp_path / 'a.npy', np.array([{'x': 1}], object))
    for name in ('a.npz', 'a.npy'):
        with pytest.raises(ev.RecordingError, match=f'{name}: .*(objects|fields)'):
            ev.read_events(tmp_path / name)


@pytest.mark.parametrize(
    'name', ['aedat1', 'aedat2 davis240', 'aedat3', 'dat', 'evt2', 'evt3', 'atis_bin']
)
def test_a_growing_file_is_followed(tmp_path, name):
    events = write.some_events()
    content = written(tmp_path, name, events).read_bytes()
    path = tmp_path / f'growing{write.WRITERS[name][1]}'
    middle = len(content) // 2 + 1
    path.write_bytes(content[:middle])

    def grow():
        time.sleep(0.2)
        with open(path, 'ab') as file:
            file.write(content[middle:])

    thread = threading.Thread(target=grow)
    thread.start()
    chunks = list(ev.iter_events(path, follow=1.0))
    thread.join()
    assert np.array_equal(np.concatenate(chunks), events)


def test_damaged_bytes_are_an_error_or_events(tmp_path):
    """400 files with changed, missing or doubled bytes: an error with the file, or events."""
    rng, errors = np.random.default_rng(0), 0
    for name in sorted(write.WRITERS):
        path = written(tmp_path, name, write.some_events(60))
        content = path.read_bytes()
        for _ in range(24):
            damaged = bytearray(content)
            place, length = int(rng.integers(len(content))), int(rng.integers(1, 9))
            kind = rng.integers(3)
            if kind == 0:
                damaged[place : place + length] = rng.bytes(length)
            elif kind == 1:
                del damaged[place : place + length]
            else:
                damaged[place:place] = damaged[place : place + 50 * length]
            path.write_bytes(damaged)
            try:
                events = ev.read_events(path, repair='empty', sensor_size=(2000, 2000))
                assert events.dtype == ev.EVENT_DTYPE and (np.diff(events['t']) >= 0).all()
            except ValueError as error:
                assert str(path) in str(error)
                errors += 1
            except ModuleNotFoundError as error:  # another compression
                assert str(path) in str(error)
    assert errors > 100


def test_memory_is_bounded_while_a_large_file_is_read(tmp_path):
    import tracemalloc

    count = 4_000_000
    words = np.zeros((count, 2), '<u4')
    words[:, 0] = np.arange(count)
    (tmp_path / 'a.dat').write_bytes(b'% Version 2\n\x0c\x08' + words.tobytes())
    del words
    tracemalloc.start()
    total = sum(len(chunk) for chunk in ev.iter_events(tmp_path / 'a.dat'))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == count and peak < 48 * 2**20 < 8 * count * 2


def test_a_missing_package_is_one_error(tmp_path, monkeypatch):
    pytest.importorskip('lz4')
    path = tmp_path / 'a.aedat4'
    write.write_aedat4(path, write.some_events(), method=1)
    assert len(ev.read_events(path)) == 300
    monkeypatch.setitem(sys.modules, 'lz4', None)
    monkeypatch.setitem(sys.modules, 'lz4.frame', None)
    with pytest.raises(ModuleNotFoundError, match=f'{path}: .*pip install lz4'):
        ev.read_events(path)


@pytest.mark.shared
@pytest.mark.parametrize(
    'file, format_name, size, count, unit',
    [
        ('davis346_sample.aedat4', 'aedat4', (260, 346), 9193, 'lz4'),
        ('tonic_dvxplorer_320x240.aedat4', 'aedat4', (240, 320), 111_954, 'lz4'),
        ('dvs128_walking.aedat', 'aedat2', (128, 128), 70_304, 'numpy'),
        ('ncars_sample.dat', 'dat', None, 2009, 'numpy'),
        ('nmnist_sample.bin', 'atis_bin', None, 4325, 'numpy'),
        ('prophesee_evt3_1280x720.raw', 'evt3', None, 219_596, 'numpy'),
        ('sample_stmnist.mat', 'mat', (10, 10), 2346, 'numpy'),
    ],
)
def test_real_recordings(shared_path, file, format_name, size, count, unit):
    pytest.importorskip(unit)
    path = shared_path('data/event_file_samples') / file
    recording = ev.open_recording(path)
    assert (recording.format, recording.size) == (format_name, size)
    events = ev.read_events(path)
    assert len(events) == count and (np.diff(events['t']) >= 0).all()
    height, width = size or dict(dat=(100, 120), atis_bin=(34, 34), evt3=(720, 1280))[format_name]
    assert events['x'].max() < width and events['y'].max() < height
    assert set(events['p']) == ({1} if file.startswith('davis346') else {0, 1})


@pytest.mark.shared
@pytest.mark.parametrize('file', ['davis346_sample.aedat4', 'tonic_dvxplorer_320x240.aedat4'])
def test_real_aedat4_equals_the_aedat_package(shared_path, file):
    aedat = pytest.importorskip('aedat')
    path = shared_path('data/event_file_samples') / file
    packets = [packet['events'] for packet in aedat.Decoder(str(path)) if 'events' in packet]
    theirs, ours = np.concatenate(packets), ev.read_events(path)
    polarity = 'on' if 'on' in theirs.dtype.names else 'p'
    for name, other in zip('xytp', ('x', 'y', 't', polarity)):
        assert np.array_equal(ours[name], theirs[other])


@pytest.mark.parametrize('kind', [ev.RecordingError, ev.TruncatedError])
@pytest.mark.parametrize('offset', [None, 12])
def test_errors_are_the_same_after_a_process_boundary(kind, offset, tmp_path):
    error = kind(tmp_path / 'a.dat', 'a reason', offset)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error)
    assert (copy.path, copy.offset, copy.reason) == (tmp_path / 'a.dat', offset, 'a reason')


def test_times_in_another_unit(tmp_path):
    np.savez(tmp_path / 'a.npz', x=[1, 2], y=[1, 2], t=[0.25, 0.5], p=[0, 1])
    events = ev.read_events(tmp_path / 'a.npz', time_unit='s')
    assert events['t'].tolist() == [250_000, 500_000]
    write.write_dat(tmp_path / 'a.dat', write.some_events())
    with pytest.raises(ev.RecordingError, match='a.dat: .*the format dat defines the unit'):
        ev.read_events(tmp_path / 'a.dat', time_unit='s')
    with pytest.raises(ValueError, match="time_unit must be one of .*'minutes'"):
        ev.read_events(tmp_path / 'a.npz', time_unit='minutes')
