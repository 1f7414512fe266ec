"""AEDAT 3: packets, devices, damage."""

import struct

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev


@pytest.mark.parametrize(
    'source, size',
    [('DVS128', (128, 128)), ('DAVIS240C', (180, 240)), ('DAVIS346', (260, 346)), ('File', None)],
)
def test_aedat3_size_comes_from_the_source(tmp_path, source, size):
    write.write_aedat3(tmp_path / 'a.aedat', write.some_events(), source)
    recording = ev.open_recording(tmp_path / 'a.aedat')
    assert recording.size == size and len(ev.read_events(tmp_path / 'a.aedat')) == 300


def test_aedat3_times_have_more_than_31_bits(tmp_path):
    events = write.some_events(start=2**31 - 40_000)
    assert events['t'][0] < 2**31 < events['t'][-1]
    write.write_aedat3(tmp_path / 'a.aedat', events)
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat'), events)


def test_aedat3_is_spikingjellys(tmp_path):
    from mmbsa.datasets.readers import spikingjelly_readers

    events = write.some_events()
    rows = np.stack(
        [
            events['x'].astype(int) << 17 | events['y'].astype(int) << 2 | events['p'] << 1 | 1,
            events['t'],
        ],
        1,
    ).astype('<u4')
    (tmp_path / 'a.aedat').write_bytes(
        b'#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n' + write.packet3(rows)
    )
    theirs = spikingjelly_readers().load_aedat_v3(tmp_path / 'a.aedat')
    ours = ev.read_events(tmp_path / 'a.aedat')
    assert all(np.array_equal(ours[name], theirs[name]) for name in 'xytp')


def test_aedat3_sources_are_chosen(tmp_path):
    one, two = write.some_events(50, seed=1), write.some_events(60, seed=2)
    body = b''
    for number, events in enumerate((one, two)):
        x, y, t, p = write.columns(events)
        rows = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype('<u4')
        body += write.packet3(rows, source=number)
    path = tmp_path / 'a.aedat'
    path.write_bytes(
        b'#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 0: DVS128\r\n#Source 1: DVS128\r\n'
        b'#!END-HEADER\r\n' + body
    )
    with pytest.raises(ev.RecordingError, match='several streams .*choose one by part='):
        ev.read_events(path)
    assert np.array_equal(ev.read_events(path, 0), one)
    assert np.array_equal(ev.read_events(path, 1), two)
    with pytest.raises(ev.RecordingError, match='part=2 is not one of'):
        ev.read_events(path, 2)


def test_aedat3_faults(tmp_path):
    path = tmp_path / 'a.aedat'
    start = write.write_aedat3(path, write.some_events())
    content = path.read_bytes()
    path.write_bytes(content.replace(b'RAW', b'PNG'))
    with pytest.raises(ev.RecordingError, match="encoding 'PNG'; expected RAW"):
        ev.read_events(path)
    broken = bytearray(content)
    struct.pack_into('<i', broken, start + 20, -1)
    path.write_bytes(broken)
    with pytest.raises(ev.RecordingError, match=f'at byte {start} .*packet header is damaged'):
        ev.read_events(path)
    # a packet of 2^32 bytes: each of both numbers alone would be possible
    struct.pack_into('<5i', broken, start + 4, 1 << 16, 0, 0, 1 << 16, 1)
    path.write_bytes(broken)
    with pytest.raises(ev.RecordingError, match=f'at byte {start} .*packet header is damaged'):
        ev.read_events(path)


def test_aedat3_byte_of_a_fault_is_named(tmp_path):
    events = write.some_events(size=(120, 128))
    events['x'][:] = 3
    events['x'][2] = 127
    start = write.write_aedat3(tmp_path / 'a.aedat', events)
    with pytest.raises(ev.RecordingError, match='x=127') as error:
        ev.read_events(tmp_path / 'a.aedat', sensor_size=(120, 100))
    assert error.value.offset == start + 28, 'the events of the packet begin after its header'
