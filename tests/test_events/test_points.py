"""Augmentations of events: shapes, order, types, agreement with those of frames."""

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev

SIZE = (7, 9)


def events_of(count=200, seed=0, span=1000):
    return write.some_events(count, SIZE, seed, span, 50)


def as_multiset(events):
    return sorted(events.tolist())


MATRIX = ev.rotation(20) @ ev.shearing(0.2, -0.1)
CHANGES = [
    (ev.flip, (SIZE, 'horizontal')),
    (ev.flip, (SIZE, 'vertical')),
    (ev.flip, (SIZE, 'time')),
    (ev.roll, (SIZE, 3, -2)),
    (ev.warp, (SIZE, MATRIX, (1.0, 0.0))),
    (ev.cutout, (2, 2, 3, 3)),
    (ev.resize, (SIZE, (4, 5))),
]


@pytest.mark.parametrize('function, arguments', CHANGES, ids=lambda v: getattr(v, '__name__', ''))
def test_events_in_and_out(function, arguments):
    events = events_of()
    before = events.copy()
    out = function(events, *arguments)
    assert (
        np.array_equal(events, before)
        and out.dtype == events.dtype
        and not np.shares_memory(out, events)
    )
    assert (np.diff(out['t']) >= 0).all() and len(out)
    ev.integrate(out, SIZE, 'number', 2)  # all on the sensor
    assert len(function(events[:0], *arguments)) == 0
    # fields are found by name: another order and other types give the same events
    other = np.empty(len(events), [('p', '?'), ('t', '<u8'), ('x', '<u2'), ('y', '<u2')])
    for name in 'xytp':
        other[name] = events[name]
    again = function(other, *arguments)
    assert all((again[name] == out[name]).all() for name in 'xytp')


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'time'])
def test_flips_of_events_and_of_frames_agree_and_undo_themselves(direction):
    events = events_of(240)
    flipped = ev.flip(events, SIZE, direction)
    assert np.array_equal(
        ev.integrate(flipped, SIZE, 'number', 4),
        ev.flip_frames(ev.integrate(events, SIZE, 'number', 4), direction),
    )
    assert as_multiset(ev.flip(flipped, SIZE, direction)) == as_multiset(events)


def test_roll_and_cutout_of_events_and_of_frames_agree():
    events = events_of(240)
    index = dict(by='time', num_frames=1)
    frames = ev.integrate(events, SIZE, **index)
    assert np.array_equal(
        ev.integrate(ev.roll(events, SIZE, 3, -2), SIZE, **index), ev.roll_frames(frames, 3, -2)
    )
    for box in ((2, 2, 3, 3), (-1, -1, 3, 3), (7, 5, 9, 9), (-5, -5, 2, 2)):
        assert np.array_equal(
            ev.integrate(ev.cutout(events, *box), SIZE, **index), ev.cutout_frames(frames, *box)
        )
    assert (ev.cutout_frames(frames, 2, 2, 3, 3)[..., 2:5, 2:5] == 0).all()


def test_known_maps():
    events = ev.make_events([8], [3], [0], [1])  # the middle of the right edge
    quarter = ev.warp(events, (7, 9), ev.rotation(90))
    assert len(quarter) == 0  # 4 pixels below the middle of a sensor that ends 3 below it
    assert ev.warp(events, (9, 9), ev.rotation(90))[['x', 'y']].tolist() == [(5, 8)]
    assert ev.warp(events, SIZE, np.eye(2), (-2.0, 1.0))[['x', 'y']].tolist() == [(6, 4)]
    assert ev.warp(ev.make_events([4], [6], [0], [1]), SIZE, ev.shearing(x=1.0))[
        ['x', 'y']
    ].tolist() == [(7, 6)]
    frames = ev.integrate(events, (9, 9), 'number', 1)
    assert np.argwhere(ev.warp_frames(frames, ev.rotation(90))[0, 1]).tolist() == [[8, 5]]
    assert ev.resize(ev.make_events([8], [6], [0], [1]), SIZE, (4, 3))[['x', 'y']].tolist() == [
        (2, 3)
    ]
