"""Steps on events and frames: shapes, what they leave alone, determinism, arguments."""

import cv2
import numpy as np
import pytest
import tiny_data
from mmcv.transforms import LoadImageFromFile, RandomChoice
from mmengine.registry import DefaultScope

from mmbsa.datasets import transforms
from mmbsa.datasets.event_files import read_events
from mmbsa.datasets.transforms import (
    EventPictureToChannels,
    EventsToFrames,
    LoadEventFrames,
    LoadEvents,
)
from mmbsa.events import integrate
from mmbsa.registry import TRANSFORMS
from mmbsa.utils.random_state import seeded

SIZE = (20, 30)
AUGMENTATIONS = [
    dict(type='mmbsa.EventFlip', prob=1.0),
    dict(type='mmbsa.EventFlip', direction='vertical', prob=1.0),
    dict(type='mmbsa.EventFlip', direction='time', prob=1.0),
    dict(type='mmbsa.EventRoll', max_shift=4),
    dict(type='mmbsa.EventTranslate', max_shift=4),
    dict(type='mmbsa.EventRotate', max_degrees=45),
    dict(type='mmbsa.EventShear', max_shear=0.4),
    dict(type='mmbsa.EventShear', max_shear=0.4, direction='vertical'),
    dict(type='mmbsa.EventCutout', max_size=12),
]


@pytest.fixture
def sample(tmp_path):
    tiny_data.write_npz(tmp_path / 'a.npz', SIZE, 400)
    return dict(img_path=str(tmp_path / 'a.npz'), sensor_size=SIZE)


def test_two_steps_are_one(sample):
    events = LoadEvents()(dict(sample))
    assert events['ori_shape'] == SIZE and len(events['events']) == 400
    two = EventsToFrames(num_frames=4, by='time')(events)
    one = LoadEventFrames(num_frames=4, by='time')(dict(sample))
    assert 'events' not in two and np.array_equal(one['img'], two['img'])
    assert (
        one['img'].shape == (4, 2, *SIZE)
        and one['img'].dtype == np.float32
        and one['img'].sum() == 400
    )
    assert np.array_equal(one['img'], integrate(read_events(sample['img_path']), SIZE, 'time', 4))


def test_duration_cuts_or_fills_up(sample):
    own = LoadEventFrames(None, 'duration', 20_000)(dict(sample))['img']
    longer = LoadEventFrames(9, 'duration', 20_000)(dict(sample))['img']
    shorter = LoadEventFrames(2, 'duration', 20_000)(dict(sample))['img']
    assert len(own) == 5 and np.array_equal(longer[:5], own) and not longer[5:].any()
    assert np.array_equal(shorter, own[:2])


def test_coarser_frames_keep_all_events(sample):
    full, half = (LoadEventFrames(4, size=size)(dict(sample))['img'] for size in (None, (10, 15)))
    assert np.array_equal(half, full.reshape(4, 2, 10, 2, 15, 2).sum((3, 5)))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(num_frames=0), 'LoadEventFrames: .*num_frames'),
        (dict(by='duration', duration=5, num_frames=0), 'num_frames'),
        (dict(by='duration'), 'duration'),
        (dict(by='speed'), 'by must be one of'),
        (dict(size=(0, 3)), 'size must be'),
    ],
)
def test_bad_loading_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LoadEventFrames(**arguments)


def test_events_outside_the_sensor(sample):
    for size in (None, (5, 5)):
        with pytest.raises(ValueError, match='sensor of 20 x 10'):
            LoadEventFrames(4, size=size)(dict(sample, sensor_size=(20, 10)))


def test_a_broken_recording_is_named_by_the_guard(sample):
    from mmbsa.engine.data_guard_hook import DataError, GuardedPipeline

    with open(sample['img_path'], 'wb') as file:
        file.write(b'PK no zip')
    with pytest.raises(
        DataError,
        match=rf'{sample["img_path"]}: LoadEventFrames failed .* not a readable recording',
    ):
        GuardedPipeline([LoadEventFrames(4)], None, (), '')(dict(sample))


@pytest.mark.parametrize(
    'cfg', AUGMENTATIONS, ids=lambda cfg: cfg['type'] + cfg.get('direction', '')
)
@pytest.mark.parametrize('kind', ['events', 'frames'])
def test_event_augmentations_keep_the_form(sample, cfg, kind):
    step = TRANSFORMS.build(cfg)
    load = LoadEvents() if kind == 'events' else LoadEventFrames(4)
    key = 'events' if kind == 'events' else 'img'
    before = load(dict(sample))[key]
    outs = []
    for seed in range(4):
        results = load(dict(sample))
        source = results[key]
        with seeded(7, seed):
            out = step(results)[key]
        assert np.array_equal(source, before), 'the input was edited'
        with seeded(7, seed):
            assert np.array_equal(step(load(dict(sample)))[key], out), (
                'the same seed gives the same sample'
            )
        assert out.dtype == before.dtype
        if kind == 'frames':
            assert out.shape == before.shape and out.min() >= 0
        else:
            EventsToFrames(4)(dict(events=out, sensor_size=SIZE))  # all of them on the sensor
        outs.append(out)
    assert any(not np.array_equal(out, before) for out in outs)
    assert 'Flip' in cfg['type'] or any(not np.array_equal(out, outs[0]) for out in outs[1:])
    never = TRANSFORMS.build(dict(cfg, prob=0.0))
    assert never(load(dict(sample)))[key] is not None and np.array_equal(
        never(load(dict(sample)))[key], before
    )
    assert cfg['type'].split('.')[1] in repr(step)


def test_all_augmentations_are_tested():
    names = {
        name
        for name in transforms.__all__
        if name.startswith('Event')
        and name not in ('EventsToFrames', 'EventPictureToChannels', 'EventDropFrames')
    }
    assert names == {cfg['type'].split('.')[1] for cfg in AUGMENTATIONS}


def test_one_of_several(sample):
    """The stock step that the recipes choose with takes ours, and an empty list of steps."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        step = RandomChoice([[], [dict(type='mmbsa.EventCutout', max_size=9)]])
        plain = LoadEventFrames(4)(dict(sample))['img']
        changed = [
            not np.array_equal(step(LoadEventFrames(4)(dict(sample)))['img'], plain)
            for _ in range(30)
        ]
    assert 3 < sum(changed) < 28


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(type='mmbsa.EventFlip', direction='up'), "EventFlip: direction .*'up'"),
        (dict(type='mmbsa.EventFlip', prob=2), 'EventFlip: prob'),
        (dict(type='mmbsa.EventRoll', max_shift=0), 'EventRoll: max_shift'),
        (dict(type='mmbsa.EventShear', direction='time'), 'EventShear: direction'),
        (dict(type='mmbsa.EventTranslate', direction='time'), 'EventTranslate: direction'),
        (dict(type='mmbsa.EventRotate', max_degrees=-1), 'EventRotate: max_degrees'),
        (dict(type='mmbsa.EventCutout', max_size=0), 'EventCutout: max_size'),
        (dict(type='mmbsa.EventDropFrames', num_frames=0), 'EventDropFrames: num_frames'),
    ],
)
def test_bad_arguments(cfg, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(cfg)


def test_a_picture_is_refused():
    with pytest.raises(ValueError, match=r'EventFlip needs events or frames .*\(32, 32, 3\)'):
        TRANSFORMS.build(dict(type='mmbsa.EventFlip'))(dict(img=np.zeros((32, 32, 3))))


def test_drop_frames(sample):
    step = TRANSFORMS.build(dict(type='mmbsa.EventDropFrames', num_frames=3))
    frames = LoadEventFrames(8)(dict(sample))['img']
    kept = step(dict(img=frames))['img']
    places = [
        next(i for i, frame in enumerate(frames) if np.array_equal(frame, one)) for one in kept
    ]
    assert len(kept) == 3 and places == sorted(places)
    with pytest.raises(ValueError, match='at least 3 frames, got 2'):
        step(dict(img=frames[:2]))


def test_event_pictures(tmp_path):
    picture = np.full((5, 6), 128, np.uint8)
    picture[1, 2], picture[3, 4] = 0, 255
    assert cv2.imwrite(str(tmp_path / 'a.png'), picture)
    results = LoadImageFromFile(color_type='grayscale')(dict(img_path=str(tmp_path / 'a.png')))
    img = EventPictureToChannels()(results)['img']
    assert img.shape == (5, 6, 2) and img.dtype == np.float32
    assert np.argwhere(img).tolist() == [[1, 2, 0], [3, 4, 1]]
    assert np.array_equal(EventPictureToChannels()(dict(img=picture[..., None]))['img'], img)
    with pytest.raises(ValueError, match=r'also found \[100\]'):
        EventPictureToChannels()(dict(img=np.full((2, 2), 100, np.uint8)))
    with pytest.raises(ValueError, match='grayscale'):
        EventPictureToChannels()(dict(img=np.zeros((2, 2, 3), np.uint8)))


@pytest.mark.shared
def test_real_event_pictures(shared_path):
    file = sorted(shared_path('data/dvs128_object_frames/train/mug').iterdir())[5]
    img = EventPictureToChannels()(
        LoadImageFromFile(color_type='grayscale')(dict(img_path=str(file)))
    )['img']
    assert img.shape == (128, 128, 2) and (img.sum((0, 1)) > 20).all() and img.sum(-1).max() == 1


def test_one_frame_is_a_number_of_frames():
    step = LoadEventFrames(num_frames=1, by='duration', duration=1000)
    assert (step.num_frames, step.duration) == (1, 1000)
