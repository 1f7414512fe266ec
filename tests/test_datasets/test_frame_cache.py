"""The cache of frames: found again only under the same parameters, whole or not at all, killed or
not."""

import json
import multiprocessing
import os
import time

import numpy as np
import pytest
import tiny_data

from mmbsa.datasets.frame_cache import FrameCache
from mmbsa.datasets.transforms import LoadEventFrames

SIZE = (20, 30)


def sample(path):
    return dict(img_path=str(path), sensor_size=SIZE)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / 'data' / 'a.npz'
    tiny_data.write_npz(path, SIZE, 500)
    return path


def files(folder):
    return sorted(path for path in folder.rglob('*.npz'))


def test_cached_frames_are_the_frames(tmp_path, recording, monkeypatch):
    plain = LoadEventFrames(num_frames=4)(sample(recording))
    step = LoadEventFrames(num_frames=4, cache_dir=tmp_path / 'cache')
    first = step(sample(recording))
    monkeypatch.setattr(
        LoadEventFrames, 'integrate', None
    )  # from here on, only the cache can answer
    second = step(sample(recording))
    for results in (first, second):
        assert results['img'].dtype == np.float32 and np.array_equal(results['img'], plain['img'])
        assert results['img_shape'] == results['ori_shape'] == SIZE
    second['img'] += 1
    assert np.array_equal(step(sample(recording))['img'], plain['img'])


def test_every_parameter_has_its_own_frames(tmp_path, recording):
    arguments = [
        dict(num_frames=4),
        dict(num_frames=5),
        dict(num_frames=4, by='time'),
        dict(num_frames=4, size=(10, 15)),
        dict(num_frames=4, by='duration', duration=20_000),
        dict(num_frames=None, by='duration', duration=20_000),
        dict(num_frames=4, by='duration', duration=30_000),
    ]
    for kwargs in arguments:
        cached = LoadEventFrames(**kwargs, cache_dir=tmp_path / 'cache')(sample(recording))['img']
        assert np.array_equal(cached, LoadEventFrames(**kwargs)(sample(recording))['img'])
    other = dict(sample(recording), sensor_size=(20, 31))
    assert LoadEventFrames(num_frames=4, cache_dir=tmp_path / 'cache')(other)['img'].shape == (
        4,
        2,
        20,
        31,
    )
    assert len(files(tmp_path / 'cache')) == len(arguments) + 1
    told = [json.loads(path.read_text()) for path in (tmp_path / 'cache').rglob('parameters.json')]
    assert len(told) == len(arguments) + 1 and {info['by'] for info in told} == {
        'number',
        'time',
        'duration',
    }


def test_recordings_of_one_name_do_not_meet(tmp_path, recording):
    tiny_data.write_npz(tmp_path / 'other' / 'a.npz', SIZE, 500, seed=9)
    step = LoadEventFrames(num_frames=4, cache_dir=tmp_path / 'cache')
    one, two = (step(sample(path))['img'] for path in (recording, tmp_path / 'other' / 'a.npz'))
    assert not np.array_equal(one, two)


def test_a_changed_recording_and_a_damaged_file_are_made_anew(tmp_path, recording):
    step = LoadEventFrames(num_frames=4, cache_dir=tmp_path / 'cache')
    before = step(sample(recording))['img']
    tiny_data.write_npz(recording, SIZE, 500, seed=3)
    os.utime(recording, (time.time() + 5,) * 2)
    after = step(sample(recording))['img']
    assert not np.array_equal(before, after)
    (file,) = files(tmp_path / 'cache')
    whole = file.read_bytes()
    for damaged in (
        b'',
        whole[:100],
        whole[:-30],
        b'x' * len(whole),
        whole[:300] + b'\xff' * 40 + whole[340:],
    ):
        file.write_bytes(damaged)
        assert np.array_equal(step(sample(recording))['img'], after)
        assert file.read_bytes() != damaged


def test_counts_keep_their_size(tmp_path, recording):
    cache = FrameCache(tmp_path / 'cache', {})
    for value, dtype in ((255, np.uint8), (256, np.uint16), (70_000, np.uint32)):
        os.utime(recording, (value, value))
        assert cache.get(recording, lambda: np.full((1, 2, 2, 2), value)).dtype == dtype
        assert (cache.get(recording, None) == value).all()


def fill_forever(root, recordings):
    while True:
        for number, recording in enumerate(recordings):
            os.utime(recording)  # every pass is made anew
            FrameCache(root, {}).get(recording, lambda: np.full((4, 2, 64, 64), number))


def test_killed_and_parallel_writers_leave_only_whole_files(tmp_path):
    recordings = [tmp_path / f'{index}.bin' for index in range(6)]
    for recording in recordings:
        recording.write_bytes(b'')
    seen = 0
    for trial in range(6):
        writers = [
            multiprocessing.get_context('fork').Process(
                target=fill_forever, args=(tmp_path / 'cache', recordings)
            )
            for _ in range(2)
        ]
        for writer in writers:
            writer.start()
        time.sleep(0.05 + 0.017 * trial)
        for writer in writers:
            writer.kill()
            writer.join()
        for file in files(tmp_path / 'cache'):
            with np.load(file) as stored:  # whole, and what belongs here
                assert (stored['frames'] == int(file.name[0])).all() and stored['frames'].shape == (
                    4,
                    2,
                    64,
                    64,
                )
            seen += 1
    assert seen > 6
