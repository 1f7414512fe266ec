"""HDF5: layouts by what a file holds, units, compressions."""

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
    with pytest.raises(
        ModuleNotFoundError, match="b.h5: .*filter Prophesee's ECF.*HDF5_PLUGIN_PATH"
    ):
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


def test_a_truncated_file_states_its_length(tmp_path):
    path = tmp_path / 'a.h5'
    write.write_hdf5(path, write.some_events())
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[: whole // 2])
    message = f'a.h5: .*truncated: it has {whole // 2} of the {whole} bytes'
    with pytest.raises(ev.TruncatedError, match=message):
        ev.read_events(path)
