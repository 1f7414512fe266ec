"""Arrays of numpy: names, types, damage, ES-ImageNet."""

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev


def test_names_that_data_sets_give_the_columns(tmp_path):
    events = write.some_events()
    for names in (('x', 'y', 'ts', 'pol'), ('X', 'Y', 'timestamp', 'polarity')):
        np.savez(tmp_path / 'a.npz', **{name: events[f] for name, f in zip(names, 'xytp')})
        assert np.array_equal(ev.read_events(tmp_path / 'a.npz'), events)
    np.savez(tmp_path / 'b.npz', x=[1], y=[1], t=[1])
    with pytest.raises(
        ev.RecordingError, match=r"b.npz: .*missing \['p'\], found \['t', 'x', 'y'\]"
    ):
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


def test_columns_of_two_axes_in_either_order(tmp_path):
    """(N, 1) is the same in both orders of numpy; (N, 2) is not."""
    events = write.some_events()
    columns = {name: np.asfortranarray(events[name][:, None]) for name in 'xytp'}
    np.savez(tmp_path / 'a.npz', **columns)
    assert np.array_equal(ev.read_events(tmp_path / 'a.npz'), events)
    columns = {name: np.asfortranarray(np.ones((4, 2), np.int64)) for name in 'xytp'}
    np.savez(tmp_path / 'b.npz', **columns)
    with pytest.raises(ev.RecordingError, match='b.npz'):
        ev.read_events(tmp_path / 'b.npz')


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


def test_a_truncated_npz_says_so(tmp_path):
    path = tmp_path / 'a.npz'
    write.write_npz(path, write.some_events())
    for length in (30, path.stat().st_size // 2, path.stat().st_size - 3):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ev.TruncatedError, match=f'a.npz: .*truncated.* after {length} bytes'):
            ev.read_events(path)
        write.write_npz(path, write.some_events())
