"""Slices by number, time, duration and timestamps; of arrays in any order and of streams."""

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev

SIZE = (7, 9)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(by='number', num_frames=7),
        dict(by='time', num_frames=5),
        dict(by='duration', duration=90),
        dict(by='timestamps', timestamps=[0, 200, 300, 1000]),
    ],
)
def test_the_order_of_the_array_plays_no_role(arguments):
    events = write.some_events(200, SIZE)
    events['t'] = np.random.default_rng(1).choice(1000, 200, replace=False)  # no two at one time
    events.sort(order='t')
    order = np.random.default_rng(2).permutation(len(events))
    index, count = ev.frame_index(events, **arguments)
    again, same = ev.frame_index(events[order], **arguments)
    assert count == same and np.array_equal(index[order], again)
    assert np.array_equal(
        ev.integrate(events, SIZE, **arguments), ev.integrate(events[order], SIZE, **arguments)
    )


def test_two_events_out_of_order():
    events = ev.make_events([0, 1], [0, 0], [9, 1], [1, 1])
    assert ev.frame_index(events, 'number', 2)[0].tolist() == [1, 0]
    assert ev.integrate(events, (1, 2), 'number', 2)[:, 1, 0].tolist() == [[0, 1], [1, 0]]


def test_negative_and_huge_times():
    events = ev.make_events([0, 0], [0, 0], [-(2**61), 2**61], [1, 1])
    assert ev.frame_index(events, 'time', 2)[0].tolist() == [0, 1]
    with pytest.raises(ValueError, match='duration 1 gives .* frames .*expected at most'):
        ev.frame_index(events, 'duration', duration=1)
    with pytest.raises(ValueError, match='at most 2147483648'):
        ev.integrate(
            ev.make_events([0, 0], [0, 0], [0, 10**7], [1, 1]), (480, 640), 'duration', duration=1
        )


def test_slices_follow_timestamps():
    events = ev.make_events([0] * 6, [0] * 6, [0, 10, 19, 20, 39, 40], [1] * 6)
    index, count = ev.frame_index(events, 'timestamps', timestamps=[10, 20, 30, 40])
    assert index.tolist() == [-1, 0, 0, 1 + 0, 2, -1] and count == 3
    assert ev.integrate(
        events, (1, 1), 'timestamps', timestamps=[10, 20, 30, 40]
    ).ravel().tolist() == [0, 2, 0, 1, 0, 1]
    for bad, message in (
        ([10], 'at least two'),
        ([10, 10], 'must increase; number 1 is 10 after 10'),
        ([0.0, 1.0], 'whole numbers'),
        ([[1, 2]], 'at least two'),
    ):
        with pytest.raises(ValueError, match=message):
            ev.frame_index(events, 'timestamps', timestamps=bad)
    with pytest.raises(ValueError, match="by='timestamps' takes timestamps"):
        ev.frame_index(events, 'timestamps', 3)


def test_split_windows():
    assert ev.split_windows([0, 10, 12], 4).tolist() == [0, 3, 5, 8, 10, 11, 11, 12, 12]
    with pytest.raises(ValueError, match='num_steps'):
        ev.split_windows([0, 10], 0)


def test_slice_time():
    events = ev.make_events([0] * 4, [0] * 4, [5, 1, 3, 9], [1] * 4)
    assert ev.slice_time(events, 3, 9)['t'].tolist() == [5, 3]


CHUNKS = [1, 7, 50, 1000]


@pytest.mark.parametrize('size', CHUNKS)
def test_windows_of_a_stream(size):
    events = write.some_events(300, SIZE, span=5000)
    chunks = [events[first : first + size] for first in range(0, 300, size)]
    parts = list(ev.iter_windows(iter(chunks), number=70))
    assert [len(part) for part in parts] == [70, 70, 70, 70, 20]
    assert np.array_equal(np.concatenate(parts), events)
    parts = list(ev.iter_windows(iter(chunks), duration=700))
    start = events['t'][0]
    assert np.array_equal(np.concatenate(parts), events)
    for number, part in enumerate(parts):
        assert ((part['t'] - start) // 700 == number).all()
    borders = [-50, -10, 0, 1000, 1001, 2500, 9000, 9001]
    parts = list(ev.iter_windows(iter(chunks), timestamps=borders))
    assert len(parts) == 7
    for part, low, high in zip(parts, borders[:-1], borders[1:]):
        assert np.array_equal(part, ev.slice_time(events, low, high))


def test_windows_of_an_empty_stream():
    assert list(ev.iter_windows(iter([]), number=3)) == []
    assert list(ev.iter_windows(iter([]), duration=3)) == []
    assert [len(part) for part in ev.iter_windows(iter([]), timestamps=[0, 1, 2])] == [0, 0]


@pytest.mark.parametrize(
    'arguments', [{}, dict(number=3, duration=4), dict(number=0), dict(duration=-1)]
)
def test_bad_rules_of_windows(arguments):
    with pytest.raises(ValueError, match='give one of number, duration'):
        list(ev.iter_windows(iter([]), **arguments))


@pytest.mark.parametrize('times', [([1, 5, 3],), ([1, 5], [3, 9])])
def test_a_stream_out_of_order(times):
    chunks = [ev.make_events([0] * len(t), [0] * len(t), t, [1] * len(t)) for t in times]
    with pytest.raises(ValueError, match='t=3 after'):
        list(ev.iter_windows(iter(chunks), duration=10))


def test_a_damaged_time_is_an_error_instead_of_an_endless_stream():
    for times in ([0, 5, 10**13], [0, 10**13, 10**13 + 5]):
        chunks = [ev.make_events([0], [0], [t], [1]) for t in times]
        with pytest.raises(ValueError, match='no event for .* max_gap=600000000'):
            list(ev.iter_windows(iter(chunks), duration=20_000))
        assert len(list(ev.iter_windows(iter(chunks), duration=10**13))) == 2
        windows = ev.iter_windows(iter(chunks), duration=10**12, max_gap=10**13)
        assert [len(window) for window in windows] in ([2, *[0] * 9, 1], [1, *[0] * 9, 2])
