"""Functions on events: slices, frames, geometry, mixing; inputs are never edited, empty slices and no time span are fine."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbsa import events as ev
from mmbsa.datasets.readers import spikingjelly_readers

SIZE = (7, 9)


def some_events(count=200, seed=0, size=SIZE, span=1000):
    rng = np.random.default_rng(seed)
    return ev.make_events(rng.integers(0, size[1], count), rng.integers(0, size[0], count),
                          np.sort(rng.integers(0, span, count)) + 50, rng.integers(0, 2, count))


def as_multiset(events):
    return sorted(events.tolist())


def spikingjelly_frames(events, by, num_frames=None, duration=None, size=SIZE):
    data = spikingjelly_readers()
    columns = {name: events[name].astype(np.int64) for name in 'xytp'}
    if by == 'duration':
        return data.integrate_events_by_fixed_duration(columns, duration, *size)
    return data.integrate_events_by_fixed_frames_number(columns, by, num_frames, *size)


@pytest.mark.parametrize('num_frames', [1, 4, 7, 16])
@pytest.mark.parametrize('by', ['number', 'time'])
def test_frames_are_those_of_spikingjelly(by, num_frames):
    events = some_events(500)
    ours = ev.integrate(events, SIZE, by, num_frames)
    assert ours.shape == (num_frames, 2, *SIZE) and ours.sum() == len(events)
    assert np.array_equal(ours, spikingjelly_frames(events, by, num_frames))


@pytest.mark.parametrize('duration', [1, 10, 333, 5000])
def test_frames_by_duration_are_those_of_spikingjelly(duration):
    events = some_events(500)
    assert np.array_equal(ev.integrate(events, SIZE, 'duration', duration=duration),
                          spikingjelly_frames(events, 'duration', duration=duration))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 30), span=st.integers(1, 40), frames=st.integers(1, 12), seed=st.integers(0, 99),
       by=st.sampled_from(['number', 'time', 'duration']))
def test_no_event_is_lost_whatever_the_recording(count, span, frames, seed, by):
    events = some_events(count, seed, span=span)
    before = events.copy()
    argument = dict(duration=frames) if by == 'duration' else dict(num_frames=frames)
    index, total = ev.frame_index(events, by, **argument)
    assert index.shape == (count,) and total >= 1 and (by == 'duration' or total == frames)
    assert ((index >= 0) & (index < total)).all() and (np.diff(index) >= 0).all()  # in the order of time
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


@pytest.mark.parametrize('arguments, message', [
    (dict(by='speed', num_frames=2), "by must be one of .*'speed'"),
    (dict(by='number'), "by='number' takes num_frames"),
    (dict(by='time', num_frames=0), "by='time' takes num_frames"),
    (dict(by='duration', num_frames=2), "by='duration' takes duration"),
    (dict(by='number', num_frames=2, duration=5), 'nothing else')])
def test_bad_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        ev.integrate(some_events(3), SIZE, **arguments)


def test_bad_events():
    events = some_events(3)
    for bad in (np.zeros(3), events[['x', 'y', 't']], events[None]):
        with pytest.raises(ValueError, match='fields x, y, t, p'):
            ev.integrate(bad, SIZE, 'number', 2)
    with pytest.raises(ValueError, match=r'x in .*\.\.8.*0\.\.7'):
        ev.integrate(some_events(), (7, 8), 'number', 2)
    with pytest.raises(ValueError, match='one length'):
        ev.make_events([1], [1, 2], [1], [1])


MATRIX = ev.rotation(20) @ ev.shearing(0.2, -0.1)
CHANGES = [
    (ev.flip, (SIZE, 'horizontal')), (ev.flip, (SIZE, 'vertical')), (ev.flip, (SIZE, 'time')), (ev.roll, (SIZE, 3, -2)),
    (ev.warp, (SIZE, MATRIX, (1., 0.))), (ev.cutout, (2, 2, 3, 3)), (ev.resize, (SIZE, (4, 5)))]


@pytest.mark.parametrize('function, arguments', CHANGES, ids=lambda v: getattr(v, '__name__', ''))
def test_events_in_and_out(function, arguments):
    events = some_events()
    before = events.copy()
    out = function(events, *arguments)
    assert np.array_equal(events, before) and out.dtype == events.dtype and not np.shares_memory(out, events)
    assert (np.diff(out['t']) >= 0).all() and len(out)
    ev.integrate(out, SIZE, 'number', 2)  # all on the sensor
    assert len(function(events[:0], *arguments)) == 0
    # fields are found by name: another order and other types give the same events
    other = np.empty(len(events), [('p', '?'), ('t', '<u8'), ('x', '<u2'), ('y', '<u2')])
    for name in 'xytp':
        other[name] = events[name]
    again = function(other, *arguments)
    assert all((again[name] == out[name]).all() for name in 'xytp')


FRAME_CHANGES = [
    (ev.flip_frames, ('horizontal',)), (ev.flip_frames, ('vertical',)), (ev.flip_frames, ('time',)),
    (ev.roll_frames, (3, -2)), (ev.warp_frames, (MATRIX, (1., 0.))), (ev.cutout_frames, (2, 2, 3, 3))]


@pytest.mark.parametrize('function, arguments', FRAME_CHANGES, ids=lambda v: getattr(v, '__name__', ''))
def test_frames_in_and_out(function, arguments):
    frames = ev.integrate(some_events(), SIZE, 'number', 4)
    before = frames.copy()
    out = function(frames, *arguments)
    assert np.array_equal(frames, before) and out.shape == frames.shape and not np.shares_memory(out, frames)
    assert not np.array_equal(out, frames)
    with pytest.raises(ValueError, match=r'\(T, P, H, W\)'):
        function(frames[0], *arguments)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'time'])
def test_flips_of_events_and_of_frames_agree_and_undo_themselves(direction):
    events = some_events(240)
    flipped = ev.flip(events, SIZE, direction)
    assert np.array_equal(ev.integrate(flipped, SIZE, 'number', 4),
                          ev.flip_frames(ev.integrate(events, SIZE, 'number', 4), direction))
    assert as_multiset(ev.flip(flipped, SIZE, direction)) == as_multiset(events)


def test_roll_and_cutout_of_events_and_of_frames_agree():
    events = some_events(240)
    index = dict(by='time', num_frames=1)
    frames = ev.integrate(events, SIZE, **index)
    assert np.array_equal(ev.integrate(ev.roll(events, SIZE, 3, -2), SIZE, **index), ev.roll_frames(frames, 3, -2))
    for box in ((2, 2, 3, 3), (-1, -1, 3, 3), (7, 5, 9, 9), (-5, -5, 2, 2)):
        assert np.array_equal(ev.integrate(ev.cutout(events, *box), SIZE, **index), ev.cutout_frames(frames, *box))
    assert (ev.cutout_frames(frames, 2, 2, 3, 3)[..., 2:5, 2:5] == 0).all()


def test_known_maps():
    events = ev.make_events([8], [3], [0], [1])  # the middle of the right edge
    quarter = ev.warp(events, (7, 9), ev.rotation(90))
    assert len(quarter) == 0  # 4 pixels below the middle of a sensor that ends 3 below it
    assert ev.warp(events, (9, 9), ev.rotation(90))[['x', 'y']].tolist() == [(5, 8)]
    assert ev.warp(events, SIZE, np.eye(2), (-2., 1.))[['x', 'y']].tolist() == [(6, 4)]
    assert ev.warp(ev.make_events([4], [6], [0], [1]), SIZE, ev.shearing(x=1.))[['x', 'y']].tolist() == [(7, 6)]
    frames = ev.integrate(events, (9, 9), 'number', 1)
    assert np.argwhere(ev.warp_frames(frames, ev.rotation(90))[0, 1]).tolist() == [[8, 5]]
    assert ev.resize(ev.make_events([8], [6], [0], [1]), SIZE, (4, 3))[['x', 'y']].tolist() == [(2, 3)]


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('degrees, x', [(25., 0.), (-70., 0.), (0., 0.25), (10., -0.3)])
def test_warps_are_those_of_torchvision(degrees, x, interpolation):
    torch = pytest.importorskip('torch')
    functional = pytest.importorskip('torchvision.transforms.functional')
    mode = pytest.importorskip('torchvision.transforms').InterpolationMode(interpolation)
    frames = np.random.default_rng(0).random((2, 2, 16, 21)).astype(np.float32)
    theirs = functional.affine(torch.from_numpy(frames), degrees, [2, -1], 1., [np.degrees(np.arctan(x)), 0.], mode).numpy()
    ours = ev.warp_frames(frames, ev.rotation(degrees) @ ev.shearing(-x), (2., -1.), interpolation)
    if interpolation == 'nearest':  # a pixel exactly between two may go either way
        assert (ours != theirs).mean() < 0.01
    else:
        assert np.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize('share', [0., 0.3, 0.5, 1.])
def test_masks(share):
    for seed in range(5):
        mask = ev.gaussian_mask((4, 16, 20), share, np.random.default_rng(seed))
        assert mask.shape == (4, 16, 20) and mask.sum() == round(share * mask.size)
        box = ev.box_mask((4, 16, 20), share, np.random.default_rng(seed))
        assert box.mean() <= share + 0.11 and (box == box[:1]).all()
    assert not np.array_equal(ev.gaussian_mask((4, 16, 20), 0.5, np.random.default_rng(1)),
                              ev.gaussian_mask((4, 16, 20), 0.5, np.random.default_rng(2)))
    with pytest.raises(ValueError, match='share'):
        ev.gaussian_mask((4, 16, 20), 1.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match='shape'):
        ev.box_mask((16, 20), 0.5, np.random.default_rng(0))


def test_a_gaussian_mask_moves_in_time():
    masks = [ev.gaussian_mask((8, 16, 16), 0.4, np.random.default_rng(seed)) for seed in range(8)]
    assert all((mask != mask[:1]).any() for mask in masks)


def test_mixed_labels_weigh_events():
    one, two = (ev.integrate(some_events(count, seed), SIZE, 'number', 4) for count, seed in ((300, 1), (50, 2)))
    mask = ev.gaussian_mask((4, *SIZE), 0.5, np.random.default_rng(0))
    mixed, share = ev.mix_frames(one, two, mask)
    assert share == pytest.approx((two * mask[:, None]).sum() / mixed.sum()) and share < 0.4
    assert (mixed == np.where(mask[:, None], two, one)).all()
    assert ev.mix_frames(one * 0, two * 0, mask)[1] == mask.mean()
    with pytest.raises(ValueError, match='do not fit'):
        ev.mix_frames(one, two[:2], mask)


def test_dat_files(tmp_path):
    path = tmp_path / 'a.dat'
    words = np.array([[5, 3 | 2 << 14 | 1 << 28], [9, 0x3FFF | 0x3FFF << 14]], '<u4')
    path.write_bytes(b'% Data file\n% Version 2\n\x00\x08' + words.tobytes())
    assert ev.read_dat(path).tolist() == [(3, 2, 5, 1), (0x3FFF, 0x3FFF, 9, 0)]
    path.write_bytes(b'% Data file\n\x00\x08' + words.tobytes()[:-3])
    with pytest.raises(ValueError, match='a.dat: 13 bytes of events .* cut off'):
        ev.read_dat(path)
    path.write_bytes(b'% Data file\n\x00\x10' + words.tobytes())
    with pytest.raises(ValueError, match='a.dat: expected events of 8 bytes, the header says 16'):
        ev.read_dat(path)
    path.write_bytes(b'% Data file')
    with pytest.raises(ValueError, match='a.dat: the header does not end'):
        ev.read_dat(path)


@pytest.mark.shared
def test_a_real_dat_file(shared_path):
    events = ev.read_dat(shared_path('data/event_file_samples/ncars_sample.dat'))
    assert len(events) == 2009 and (np.diff(events['t']) >= 0).all() and 90_000 < events['t'][-1] <= 100_000
    assert events['x'].max() < 120 and events['y'].max() < 100 and set(events['p']) == {0, 1}
