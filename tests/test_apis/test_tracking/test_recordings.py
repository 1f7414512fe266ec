"""Recordings as streams of frames: folders and event files, whole and growing."""

import struct
import threading
import time

import cv2
import event_writers as write
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


def test_a_slow_tracker_does_not_end_a_growing_folder(tmp_path):
    cv2.imwrite(str(tmp_path / '1.png'), tiny_tracking.frame(0))
    frames = open_source(tmp_path, follow=0.4).frames
    next(frames)
    time.sleep(0.5)  # one step of the tracker
    writer = threading.Timer(
        0.15, lambda: cv2.imwrite(str(tmp_path / '2.png'), tiny_tracking.frame(1))
    )
    writer.start()
    assert int(next(frames)[0, 0, 0, 0]) == 1
    writer.join()


def test_sub_frames_of_a_growing_folder_are_awaited(tmp_path):
    folder = tmp_path / 'inter2_stack_3008'
    folder.mkdir()

    def save(name, step):
        data = cv2.imencode('.png', tiny_tracking.frame(0, step)[..., ::-1])[1].tobytes()
        (folder / '.new').write_bytes(data)
        (folder / '.new').rename(folder / name)

    save('1_1.png', 1)

    def later():
        for name, step in (('1_2.png', 2), ('2_1.png', 1), ('3_1.png', 1), ('3_2.png', 2)):
            time.sleep(0.15)
            save(name, step)

    writer = threading.Thread(target=later)
    writer.start()
    frames = list(open_source(tmp_path, 2, follow=0.8).frames)
    writer.join()
    assert [frame[:, 0, 0, 0].tolist() for frame in frames] == [[10, 20], [10, 10], [10, 20]]


@pytest.mark.parametrize('follow', [0.0, 0.2])
@pytest.mark.parametrize('name', ['x{}', '{}_1', 'frame_{}'])
def test_numbers_in_names_are_sorted_as_numbers(tmp_path, name, follow):
    for value, number in enumerate((2, 10, 9999, 10000)):
        file = tmp_path / f'{name.format(number)}.png'
        assert cv2.imwrite(str(file), tiny_tracking.frame(value)[..., ::-1])
    frames = list(open_source(tmp_path, follow=follow).frames)
    assert [int(frame[0, 0, 0, 2]) for frame in frames] == [0, 1, 2, 3]


def test_true_boxes_of_a_folder_need_one_row_per_frame(tmp_path):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=6)
    annotation = folder / 'groundtruth_rect.txt'

    def check(note):
        source = open_source(folder)
        assert source.boxes is None and note in source.note
        assert source.start.tolist() == tiny_tracking.boxes(1)[0].tolist()
        assert open_source(folder, row_per_frame=True).boxes is not None

    assert 'may still grow' in open_source(folder, follow=0.1).note
    (folder / 'img' / '0004.png').rename(folder / 'img' / '0007.png')
    check('no frame between 0003.png and 0005.png')
    (folder / 'img' / '0007.png').unlink()
    check('it has 5 frames, no frame between 0003.png and 0005.png')
    (folder / 'img' / '0006.png').rename(folder / 'img' / '0004.png')
    check('has 6 rows')
    annotation.write_text(annotation.read_text().splitlines()[0])
    source = open_source(folder)  # the first box only
    assert len(source.boxes) == 1 and not source.note
    (folder / 'img' / '0003.png').unlink()
    for _ in range(2):  # also without an annotation
        assert 'no frame between 0002.png and 0004.png' in open_source(folder).note
        annotation.unlink(missing_ok=True)


@pytest.mark.parametrize(
    'option',
    [
        dict(window=100),
        dict(sensor_size=(4, 4)),
        dict(repair='all'),
        dict(part=0),
        dict(layout='dvs128'),
        dict(time_unit='s'),
    ],
)
def test_arguments_of_event_files_are_not_for_folders(tmp_path, option):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=6)
    with pytest.raises(ValueError, match=f'folder of frames; {next(iter(option))} is for event'):
        open_source(folder, **option)


def test_unit_of_time_of_an_event_file(tmp_path):
    stream = events()
    columns = {key: stream[key] for key in 'xyp'}
    np.savez(tmp_path / 'a.npz', t=stream['t'] / 1e6, **columns)
    np.savez(tmp_path / 'b.npz', t=stream['t'], **columns)
    a = open_source(tmp_path / 'a.npz', sensor_size=(30, 40), time_unit='s', window=10_000)
    b = open_source(tmp_path / 'b.npz', sensor_size=(30, 40), window=10_000)
    assert len(frames := list(a.frames)) > 3
    np.testing.assert_array_equal(frames, list(b.frames))


def test_frame_times_assign_windows_to_true_boxes(tmp_path):
    folder = tmp_path / 'test' / 'seq'
    folder.mkdir(parents=True)
    stream = events()
    file, times = save(folder / 'events.npz', stream), [5_000, 20_000, 50_000, 60_000, 90_000]
    (folder / 'groundtruth_rect.txt').write_text('1,2,3,4\n' * 4)

    def pictures(borders, steps):
        parts = np.concatenate(
            [np.linspace(a, b, steps + 1)[:-1] for a, b in zip(borders, borders[1:])]
            + [borders[-1:]]
        )
        windows = [stream[(stream['t'] >= a) & (stream['t'] < b)] for a, b in zip(parts, parts[1:])]
        drawn = np.stack(list(draw_trajectory(windows, (30, 40))))
        return drawn.transpose(0, 2, 3, 1)[..., ::-1].reshape(-1, steps, 30, 40, 3)

    def opened(steps=1, **kwargs):
        return open_source(file, steps, sensor_size=(30, 40), **kwargs)

    source = opened()
    assert source.boxes is None and 'no timestamps.txt' in source.note
    assert source.start.tolist() == [1, 2, 3, 4]
    assert len(opened(row_per_frame=True).boxes) == 4
    (folder / 'timestamps.txt').write_text(''.join(f'{time}\n' for time in times))
    for steps in (1, 2):
        source = opened(steps)
        assert len(source.boxes) == 4 and not source.note
        np.testing.assert_array_equal(np.stack(list(source.frames)), pictures(times, steps))
    assert 'windows of equal length' in opened(window=20_000).note
    assert 'may still grow' in opened(follow=0.1).note
    (folder / 'groundtruth_rect.txt').write_text('1,2,3,4\n' * 3)
    assert '3 rows' in opened().note and 'it has 5 frame times' in opened().note
    (tmp_path / 'pair.txt').write_text('seq 1\n')  # one frame is skipped
    source = opened()
    assert len(source.boxes) == 3
    np.testing.assert_array_equal(np.stack(list(source.frames)), pictures(times[1:], 1))


def test_frame_times_of_the_recording_itself(tmp_path):
    path = tmp_path / 'a.aedat4'
    stream = write.some_events()
    write.write_aedat4(path, stream, end=False, per_packet=1000)
    content = path.read_bytes().rsplit(struct.pack('<ii', 1, 5) + b'frame', 1)[0]
    times = np.linspace(stream['t'][0], stream['t'][-1], 4).astype(int) + 1
    for value in times.tolist():
        part = write.flatbuffer(b'FRME', [('int64', value)])
        content += struct.pack('<ii', 1, len(part)) + part
    path.write_bytes(content)
    (tmp_path / 'groundtruth.txt').write_text('1,2,3,4\n' * 3)
    source = open_source(path)
    assert len(source.boxes) == 3 and len(list(source.frames)) == 3


def test_frames_of_another_kind_are_refused(tmp_path):
    folder = tiny_tracking.write_sequence('FE108', tmp_path, 'test', 'seq', length=3)
    (folder / 'img').mkdir()
    cv2.imwrite(str(folder / 'img' / '0001.jpg'), tiny_tracking.frame(0))
    assert len(list(open_source(folder).frames)) == 3
    message = 'found inter1_stack_3008, but the model needs event frames in inter2_stack_3008'
    with pytest.raises(ValueError, match=message):
        open_source(folder, 2)
    with pytest.raises(ValueError, match=message):
        open_source(folder / 'inter1_stack_3008', 2)
    (folder / 'inter1_stack_3008').rename(folder / 'other')
    (folder / 'events.aedat4').touch()
    with pytest.raises(ValueError, match='found events.aedat4, but the model needs'):
        open_source(folder)
    cv2.imwrite(str(folder / 'other' / '0001_2.png'), tiny_tracking.frame(0))
    with pytest.raises(ValueError, match='0001_2.png: this is sub-frame 2.*T=1'):
        list(open_source(folder / 'other').frames)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(window=-5),
        dict(window=0),
        dict(follow=-1),
        dict(follow=np.nan),
        dict(sensor_size=(0, 5)),
        dict(repair=['foo']),
    ],
    ids=str,
)
def test_arguments_are_checked_for_folders_too(tmp_path, wrong):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=3)
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} must be'):
        open_source(folder, **wrong)


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
