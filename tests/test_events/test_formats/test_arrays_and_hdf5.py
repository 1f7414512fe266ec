"""Arrays and HDF5: layouts by what they hold, units, compressions."""
import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev

h5py = pytest.importorskip('h5py')


def test_dsec_times_are_moved_by_their_offset(tmp_path):
    events = write.some_events()
    write.write_hdf5(tmp_path / 'a.h5', events, 'dsec', t_offset=51_648_500_000)
    assert np.array_equal(ev.read_events(tmp_path / 'a.h5')['t'], events['t'] + 51_648_500_000)


def test_hdf5_filters(tmp_path):
    events = write.some_events()
    write.write_hdf5(tmp_path / 'a.h5', events, 'dsec', compression='gzip', chunks=(50,))
    assert np.array_equal(ev.read_events(tmp_path / 'a.h5'), events)
    with h5py.File(tmp_path / 'b.h5', 'w') as file:
        for name in 'xytp':
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk((50,))
            settings.set_filter(36559, h5py.h5z.FLAG_OPTIONAL, (1,))
            space = h5py.h5s.create_simple((300,))
            group = file.require_group('events')
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_INT64, space, settings)
    with pytest.raises(ModuleNotFoundError,
                       match="b.h5: .*filter Prophesee's ECF.*HDF5_PLUGIN_PATH"):
        ev.read_events(tmp_path / 'b.h5')


def test_mvsec_cameras(tmp_path):
    events = write.some_events()
    write.write_hdf5(tmp_path / 'a.hdf5', events, 'mvsec')
    with h5py.File(tmp_path / 'a.hdf5', 'a') as file:
        file['davis/right/events'] = file['davis/left/events'][:10]
    with pytest.raises(ev.RecordingError, match=r"cameras \['left', 'right'\]; choose one"):
        ev.read_events(tmp_path / 'a.hdf5')
    assert np.array_equal(ev.read_events(tmp_path / 'a.hdf5', 'left'), events)
    assert np.array_equal(ev.read_events(tmp_path / 'a.hdf5', 'right'), events[:10])


def test_other_hdf5_files_are_described(tmp_path):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['images/left'] = np.zeros(3)
    with pytest.raises(ev.RecordingError, match=r"a.h5: .*expected CD/events.*\['images/left'\]"):
        ev.read_events(tmp_path / 'a.h5')
    with h5py.File(tmp_path / 'b.h5', 'w') as file:
        for name, count in zip('xytp', (3, 3, 3, 2)):
            file[f'events/{name}'] = np.zeros(count, int)
    with pytest.raises(ev.RecordingError, match='b.h5: .*one length'):
        ev.read_events(tmp_path / 'b.h5')


def test_names_that_data_sets_give_the_columns(tmp_path):
    events = write.some_events()
    for names in (('x', 'y', 'ts', 'pol'), ('X', 'Y', 'timestamp', 'polarity')):
        np.savez(tmp_path / 'a.npz', **{name: events[f] for name, f in zip(names, 'xytp')})
        assert np.array_equal(ev.read_events(tmp_path / 'a.npz'), events)
    np.savez(tmp_path / 'b.npz', x=[1], y=[1], t=[1])
    with pytest.raises(ev.RecordingError,
                       match=r"b.npz: .*missing \['p'\], found \['t', 'x', 'y'\]"):
        ev.read_events(tmp_path / 'b.npz')


def test_types_of_npz_columns(tmp_path):
    events = write.some_events()
    for types in (dict(x='<u1', t='<f8', p='?'), dict(x='>i4', y='<u8', t='<u4'), dict(t='<f4')):
        write.write_npz(tmp_path / 'a.npz', events, **types)
        assert np.array_equal(ev.read_events(tmp_path / 'a.npz'), events)
    np.savez_compressed(tmp_path / 'b.npz', **{name: events[name] for name in 'xytp'})
    assert np.array_equal(ev.read_events(tmp_path / 'b.npz'), events)
    np.savez(tmp_path / 'c.npz', **{name: events[name][None] for name in 'xytp'})
    assert np.array_equal(ev.read_events(tmp_path / 'c.npz'), events)


def test_a_changed_byte_of_an_npz_is_found(tmp_path):
    write.write_npz(tmp_path / 'a.npz', write.some_events())
    content = bytearray((tmp_path / 'a.npz').read_bytes())
    place = content.index(b't.npy') + 500
    content[place] ^= 1
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(ev.RecordingError, match='CRC'):
        ev.read_events(tmp_path / 'a.npz')


def test_es_imagenet(tmp_path):
    from mmbsa.datasets.readers import spikingjelly_readers
    np.savez(tmp_path / 'a.npz', pos=np.array([[3, 4, 1], [5, 6, 3]]), neg=np.array([[7, 8, 2]]))
    ours = ev.read_events(tmp_path / 'a.npz')
    assert ours.tolist() == [(4, 3, 1, 1), (8, 7, 2, 0), (6, 5, 3, 1)]
    theirs = spikingjelly_readers().es_imagenet._load_events(tmp_path / 'a.npz')
    assert all(np.array_equal(ours[name], theirs[name]) for name in 'xytp')


def test_40_bit_events_go_on_after_overflow_marks(tmp_path):
    rows = [(1, 2, 0x80, 0, 5), (0, 240, 0, 0, 0), (3, 4, 0, 0, 6), (0, 240, 0, 0, 0),
            (5, 6, 0, 0, 7)]
    (tmp_path / 'a.bin').write_bytes(np.array(rows, np.uint8).tobytes())
    assert ev.read_events(tmp_path / 'a.bin').tolist() == [
        (1, 2, 5, 1), (3, 4, 8192 + 6, 0), (5, 6, 16384 + 7, 0)]
