"""Recordings as streams of frames: folders and event files, whole and growing."""

import threading
import time

import cv2
import numpy as np
import pytest
import tiny_tracking

from mmbsa.apis.tracking import open_source
from mmbsa.events import draw_trajectory, make_events


def events(count=400, span=100_000, size=(30, 40), seed=0):
    rng = np.random.default_rng(seed)
    return make_events(
        rng.integers(0, size[1], count),
        rng.integers(0, size[0], count),
        np.sort(rng.integers(0, span, count)),
        rng.integers(0, 2, count),
    )


def save(path, stream):
    np.savez(path, **{name: stream[name] for name in 'xytp'})
    return path


@pytest.mark.parametrize('layout, steps', [('FE108', 1), ('VisEvent', 2), ('frames', 1)])
def test_folders_of_benchmarks_are_read(tmp_path, layout, steps):
    folder = tiny_tracking.write_sequence(layout, tmp_path, 'test', 'seq', length=6, steps=steps)
    source = open_source(folder, steps)
    frames = list(source.frames)
    assert source.name == 'seq' and len(frames) == 6
    np.testing.assert_array_equal(source.boxes, tiny_tracking.boxes(6))
    for row, frame in enumerate(frames):
        expected = np.stack([tiny_tracking.frame(row, step + 1) for step in range(steps)])
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize('steps', [1, 2])
def test_event_files_become_trajectory_prompts(tmp_path, steps):
    stream = events()
    frames = list(
        open_source(
            save(tmp_path / 'a.npz', stream), steps, window=20_000, sensor_size=(30, 40)
        ).frames
    )
    start, part = stream['t'][0], 20_000 // steps
    parts = [stream[(stream['t'] - start) // part == index] for index in range(len(frames) * steps)]
    pictures = np.stack(list(draw_trajectory(parts, (30, 40)))).transpose(0, 2, 3, 1)[..., ::-1]
    np.testing.assert_array_equal(np.concatenate(frames), pictures)
    assert len(frames) in (4, 5) and frames[0].shape == (steps, 30, 40, 3)


def test_growing_folder_is_followed(tmp_path):
    folder = tmp_path / 'img'
    folder.mkdir()
    cv2.imwrite(str(folder / '0001.png'), tiny_tracking.frame(0))

    def write():
        for number in range(2, 5):
            time.sleep(0.15)
            data = cv2.imencode('.png', tiny_tracking.frame(number - 1))[1].tobytes()
            with open(
                folder / f'{number:04d}.png', 'wb'
            ) as file:  # in two parts, as a slow writer does
                file.write(data[:40])
                file.flush()
                time.sleep(0.1)
                file.write(data[40:])

    writer = threading.Thread(target=write)
    writer.start()
    frames = list(open_source(tmp_path, follow=1.5).frames)
    writer.join()
    assert [int(frame[0, 0, 0, 0]) for frame in frames] == [0, 1, 2, 3]


def test_streams_are_lazy(tmp_path):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=5)
    frames = open_source(folder).frames
    next(frames)
    (folder / 'img' / '0003.png').write_bytes(b'broken')  # not read yet
    next(frames)
    with pytest.raises(ValueError, match='0003.png: OpenCV cannot read'):
        next(frames)


def test_what_is_wrong_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='there are no frames'):
        open_source(tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='no such recording'):
        open_source(tmp_path / 'missing.aedat4')
    file = save(tmp_path / 'a.npz', events())
    with pytest.raises(ValueError, match='a.npz.*give sensor_size'):
        open_source(file)
    with pytest.raises(ValueError, match='cannot be cut into 3'):
        open_source(file, 3, window=20_000, sensor_size=(30, 40))
    with pytest.raises(ValueError, match='a.npz'):
        list(open_source(file, sensor_size=(20, 20)).frames)  # events lie outside
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=3)
    cv2.imwrite(str(folder / 'img' / '0003.png'), tiny_tracking.frame(2, size=(20, 20)))
    with pytest.raises(ValueError, match='0003.png: the frame is 20 x 20'):
        list(open_source(folder).frames)
