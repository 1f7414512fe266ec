"""AEDAT 4: streams, compressions, frames, damage."""

import struct
import threading
import time

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev


@pytest.mark.parametrize('method, package', [(0, 'flatbuffers'), (1, 'lz4'), (3, 'zstandard')])
def test_aedat4_compressions(tmp_path, method, package):
    pytest.importorskip(package)
    events = write.some_events()
    write.write_aedat4(tmp_path / 'a.aedat4', events, method=method)
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat4'), events)


def test_aedat4_without_an_index_is_read_to_its_end(tmp_path):
    events = write.some_events()
    write.write_aedat4(tmp_path / 'a.aedat4', events, end=False)
    assert np.array_equal(ev.read_events(tmp_path / 'a.aedat4'), events)


@pytest.mark.parametrize('method, package', [(0, 'flatbuffers'), (1, 'lz4'), (3, 'zstandard')])
def test_index_is_recognised_if_the_header_was_written_before_it(tmp_path, method, package):
    pytest.importorskip(package)
    path, events = tmp_path / 'a.aedat4', write.some_events()
    write.write_aedat4(path, events, method=method, end=False)
    content = path.read_bytes()
    index = write.flatbuffer(b'FTAB', [('int64', 1), ('string', 'x' * 100)])
    if method:
        pack = {1: 'lz4.frame', 3: 'zstandard'}[method]
        pack = __import__(pack, fromlist=['compress']).compress
        index = pack(index)
    path.write_bytes(content + index)
    assert np.array_equal(ev.read_events(path), events)
    path.write_bytes(content)

    def finish():
        for part in (index[:30], index[30:]):
            time.sleep(0.2)
            with open(path, 'ab') as file:
                file.write(part)

    writer = threading.Thread(target=finish)
    writer.start()
    assert np.array_equal(np.concatenate([*ev.iter_events(path, follow=1.0)]), events)
    writer.join()
    path.write_bytes(content + struct.pack('<ii', 77, 4) + b'abcd')
    with pytest.raises(
        ev.RecordingError, match=r'packet of stream 77, but the header lists the streams \[0, 1\]'
    ):
        ev.read_events(path)


def test_aedat4_streams(tmp_path):
    path = tmp_path / 'a.aedat4'
    write.write_aedat4(
        path, write.some_events(), streams=((0, 'EVTS'), (3, 'EVTS')), per_packet=1000
    )
    with pytest.raises(ev.RecordingError, match="0: 'camera0', 3: 'camera3'.*choose one by part="):
        ev.read_events(path)
    assert len(ev.read_events(path, 0)) == 300
    with pytest.raises(ev.RecordingError, match='damaged packet of stream'):
        ev.read_events(path, 3)
    write.write_aedat4(path, write.some_events(), streams=((0, 'FRME'),))
    with pytest.raises(ev.RecordingError, match='no stream of events'):
        ev.read_events(path)


def test_aedat4_faults_name_the_packet(tmp_path):
    path = tmp_path / 'a.aedat4'
    start = write.write_aedat4(path, write.some_events())
    content = path.read_bytes()
    for offset, value, message in (
        (8, 0x7FFFFFFF, 'damaged packet of stream'),
        (4, 0x7FFFFFFF, 'a packet of 2147483647 bytes'),
    ):
        broken = bytearray(content)
        struct.pack_into('<I', broken, start + offset, value)
        path.write_bytes(broken)
        with pytest.raises(ev.RecordingError, match=f'at byte {start} .*{message}'):
            ev.read_events(path)
    path.write_bytes(content[:14] + b'\xff\xff\xff\x7f' + content[18:])
    with pytest.raises(ev.RecordingError, match='a header of 2147483647 bytes'):
        ev.read_events(path)


def test_frame_times(tmp_path):
    path = tmp_path / 'a.aedat4'
    frames = [('int64', 1000), ('int64', 900)], [('int64', 2000), ('int64', 0)], [('int64', 3000)]
    write.write_aedat4(path, write.some_events(), end=False, per_packet=1000)
    content = path.read_bytes().rsplit(struct.pack('<ii', 1, 5) + b'frame', 1)[0]
    for fields in frames:
        part = write.flatbuffer(b'FRME', fields)
        content += struct.pack('<ii', 1, len(part)) + part
    path.write_bytes(content)
    assert ev.read_frame_times(path).tolist() == [900, 2000, 3000]
    assert len(ev.read_events(path)) == 300
    path.write_bytes(content[:-3])
    with pytest.raises(ev.TruncatedError, match='truncated'):
        ev.read_frame_times(path)
    assert ev.read_frame_times(path, repair='truncated').tolist() == [900, 2000]
    with pytest.raises(ValueError, match='repair must be some of'):
        ev.read_frame_times(path, repair='cut')
    write.write_aedat4(path, write.some_events(), streams=((0, 'EVTS'),))
    with pytest.raises(ev.RecordingError, match='no stream of frames'):
        ev.read_frame_times(path)
    write.write_npz(tmp_path / 'a.npz', write.some_events())
    with pytest.raises(ev.RecordingError, match='AEDAT 4 only'):
        ev.read_frame_times(tmp_path / 'a.npz')


@pytest.mark.shared
def test_real_frame_times(shared_path):
    pytest.importorskip('lz4')
    times = ev.read_frame_times(shared_path('data/event_file_samples/davis346_sample.aedat4'))
    assert len(times) == 25 and (np.diff(times) > 0).all()
    assert times[:2].tolist() == [1663249605805456, 1663249605955456]
