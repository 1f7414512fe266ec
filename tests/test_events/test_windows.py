"""Windows out of long recordings, the same for files that are searched and for files that are
read."""

import numpy as np
import pytest
from event_writers import SIZE, some_events, write_aedat4, write_dat

from mmbsa.events import read_window, slice_time


@pytest.fixture
def events():
    return some_events(500)


@pytest.mark.parametrize(
    'start, stop', [(0, 90_001), (20_000, 40_000), (30_000, 30_000), (89_000, 10**7), (-5, 100)]
)
def test_window_is_a_slice(tmp_path, events, start, stop):
    write_dat(tmp_path / 'a.dat', events)
    write_aedat4(tmp_path / 'a.aedat4', events)
    expected = slice_time(events, start, stop)
    for name in ('a.dat', 'a.aedat4'):
        found = read_window(tmp_path / name, start, stop, SIZE)
        assert all(np.array_equal(found[key], expected[key]) for key in 'xytp'), name


def test_window_of_events_of_one_time_is_whole(tmp_path, events):
    events['t'][100:200] = events['t'][100]
    events['t'][200:] = np.maximum(events['t'][200:], events['t'][100] + 1)
    write_dat(tmp_path / 'a.dat', events)
    t = int(events['t'][100])
    assert len(read_window(tmp_path / 'a.dat', t, t + 1, SIZE)) >= 100


def test_faults_name_the_file(tmp_path, events):
    with pytest.raises(FileNotFoundError, match='a.dat'):
        read_window(tmp_path / 'a.dat', 0, 1, SIZE)
    write_dat(tmp_path / 'a.dat', events)
    with pytest.raises(ValueError, match='a.dat.*between 0 and 90000 us'):
        read_window(tmp_path / 'a.dat', 0, 90_000, (2, 2))
    whole = (tmp_path / 'a.dat').read_bytes()
    (tmp_path / 'cut.dat').write_bytes(whole[:-3])
    with pytest.raises(ValueError, match='cut.dat.*the last event is not complete'):
        read_window(tmp_path / 'cut.dat', 0, 10, SIZE)
    (tmp_path / 'empty.dat').write_bytes(b'')
    with pytest.raises(ValueError, match='empty.dat'):
        read_window(tmp_path / 'empty.dat', 0, 10, SIZE)


def test_unsorted_events_are_an_error(tmp_path, events):
    t = events['t'].copy()
    events['t'][200:300] = t[200:300][::-1]
    write_dat(tmp_path / 'a.dat', events)
    for start, stop in ((int(t[230]), int(t[270])), (0, 10**6)):
        with pytest.raises(ValueError, match='a.dat.*are not in the order of time'):
            read_window(tmp_path / 'a.dat', start, stop, SIZE)
