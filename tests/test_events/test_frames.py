"""Events as frames: the slices of SpikingJelly, none lost, inputs never edited."""

import event_writers as write
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbsa import events as ev
from mmbsa.datasets.readers import spikingjelly_readers

SIZE = (7, 9)


def events_of(count=200, seed=0, span=1000):
    return write.some_events(count, SIZE, seed, span, 50)


def spikingjelly_frames(events, by, num_frames=None, duration=None, size=SIZE):
    data = spikingjelly_readers()
    columns = {name: events[name].astype(np.int64) for name in 'xytp'}
    if by == 'duration':
        return data.integrate_events_by_fixed_duration(columns, duration, *size)
    return data.integrate_events_by_fixed_frames_number(columns, by, num_frames, *size)


@pytest.mark.parametrize('num_frames', [1, 4, 7, 16])
@pytest.mark.parametrize('by', ['number', 'time'])
def test_frames_are_those_of_spikingjelly(by, num_frames):
    events = events_of(500)
    ours = ev.integrate(events, SIZE, by, num_frames)
    assert ours.shape == (num_frames, 2, *SIZE) and ours.sum() == len(events)
    assert np.array_equal(ours, spikingjelly_frames(events, by, num_frames))


@pytest.mark.parametrize('duration', [1, 10, 333, 5000])
def test_frames_by_duration_are_those_of_spikingjelly(duration):
    events = events_of(500)
    assert np.array_equal(
        ev.integrate(events, SIZE, 'duration', duration=duration),
        spikingjelly_frames(events, 'duration', duration=duration),
    )


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 30),
    span=st.integers(1, 40),
    frames=st.integers(1, 12),
    seed=st.integers(0, 99),
    by=st.sampled_from(['number', 'time', 'duration']),
)
def test_no_event_is_lost_whatever_the_recording(count, span, frames, seed, by):
    events = events_of(count, seed, span=span)
    before = events.copy()
    argument = dict(duration=frames) if by == 'duration' else dict(num_frames=frames)
    index, total = ev.frame_index(events, by, **argument)
    assert index.shape == (count,) and total >= 1 and (by == 'duration' or total == frames)
    assert ((index >= 0) & (index < total)).all() and (
        np.diff(index) >= 0
    ).all()  # in the order of time
    made = ev.integrate(events, SIZE, by, **argument)
    assert made.shape == (total, 2, *SIZE) and made.sum() == count
    if by == 'duration' and count:
        elapsed = events['t'] - events['t'][0]
        assert total == max(-(-int(elapsed[-1]) // frames), 1)
        inner = index < total - 1
        assert (elapsed[inner] // frames == index[inner]).all()
    assert np.array_equal(events, before)


def test_zero_time_span_and_empty_slices():
    burst = ev.make_events([1, 2, 3], [0, 0, 0], [70, 70, 70], [1, 0, 1])
    assert ev.integrate(burst, SIZE, 'time', 4).sum((1, 2, 3)).tolist() == [3, 0, 0, 0]
    assert ev.integrate(burst, SIZE, 'duration', duration=10).shape[0] == 1
    pause = ev.make_events([1, 2], [0, 0], [0, 100], [1, 0])
    assert ev.integrate(pause, SIZE, 'time', 4).sum((1, 2, 3)).tolist() == [1, 0, 0, 1]
    assert ev.integrate(burst[:0], SIZE, 'number', 3).shape == (3, 2, *SIZE)


def test_polarity_one_is_the_second_channel():
    frames = ev.integrate(ev.make_events([2, 3], [1, 4], [0, 1], [1, -1]), SIZE, 'number', 1)
    assert frames[0, 1, 1, 2] == 1 and frames[0, 0, 4, 3] == 1 and frames.sum() == 2


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(by='speed', num_frames=2), "by must be one of .*'speed'"),
        (dict(by='number'), "by='number' takes num_frames"),
        (dict(by='time', num_frames=0), "by='time' takes num_frames"),
        (dict(by='duration', num_frames=2), "by='duration' takes duration"),
        (dict(by='number', num_frames=2, duration=5), 'nothing else'),
    ],
)
def test_bad_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        ev.integrate(events_of(3), SIZE, **arguments)


def test_bad_events():
    events = events_of(3)
    for bad in (np.zeros(3), events[['x', 'y', 't']], events[None]):
        with pytest.raises(ValueError, match='fields x, y, t, p'):
            ev.integrate(bad, SIZE, 'number', 2)
    with pytest.raises(ValueError, match=r'x in .*\.\.8.*0\.\.7'):
        ev.integrate(events_of(), (7, 8), 'number', 2)
    with pytest.raises(ValueError, match='one length'):
        ev.make_events([1], [1, 2], [1], [1])


MATRIX = ev.rotation(20) @ ev.shearing(0.2, -0.1)
FRAME_CHANGES = [
    (ev.flip_frames, ('horizontal',)),
    (ev.flip_frames, ('vertical',)),
    (ev.flip_frames, ('time',)),
    (ev.roll_frames, (3, -2)),
    (ev.warp_frames, (MATRIX, (1.0, 0.0))),
    (ev.cutout_frames, (2, 2, 3, 3)),
]


@pytest.mark.parametrize(
    'function, arguments', FRAME_CHANGES, ids=lambda v: getattr(v, '__name__', '')
)
def test_frames_in_and_out(function, arguments):
    frames = ev.integrate(events_of(), SIZE, 'number', 4)
    before = frames.copy()
    out = function(frames, *arguments)
    assert (
        np.array_equal(frames, before)
        and out.shape == frames.shape
        and not np.shares_memory(out, frames)
    )
    assert not np.array_equal(out, frames)
    with pytest.raises(ValueError, match=r'\(T, P, H, W\)'):
        function(frames[0], *arguments)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('degrees, x', [(25.0, 0.0), (-70.0, 0.0), (0.0, 0.25), (10.0, -0.3)])
def test_warps_are_those_of_torchvision(degrees, x, interpolation):
    torch = pytest.importorskip('torch')
    functional = pytest.importorskip('torchvision.transforms.functional')
    mode = pytest.importorskip('torchvision.transforms').InterpolationMode(interpolation)
    frames = np.random.default_rng(0).random((2, 2, 16, 21)).astype(np.float32)
    theirs = functional.affine(
        torch.from_numpy(frames), degrees, [2, -1], 1.0, [np.degrees(np.arctan(x)), 0.0], mode
    ).numpy()
    ours = ev.warp_frames(
        frames, ev.rotation(degrees) @ ev.shearing(-x), (2.0, -1.0), interpolation
    )
    if interpolation == 'nearest':  # a pixel exactly between two may go either way
        assert (ours != theirs).mean() < 0.01
    else:
        assert np.allclose(ours, theirs, atol=1e-4)


def test_check_volume_takes_the_limit():
    from mmbsa.events.frames import MAX_NUMBERS, check_volume

    assert MAX_NUMBERS == 2**31
    check_volume((2**16, 2**15), 'the frames')
    with pytest.raises(ValueError, match='the frames would be .*expected at most 2147483648'):
        check_volume((2**16 + 1, 2**15), 'the frames')
