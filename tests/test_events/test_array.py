"""Numbers of events are looked at: type, fractions, range, NaN, polarity."""

import numpy as np
import pytest

from mmbsa import events as ev

GOOD = dict(x=[1, 2], y=[3, 4], t=[5, 6], p=[0, 1])


@pytest.mark.parametrize(
    'column, found',
    [
        (dict(t=[0.2, 0.9]), "t is 0.2 at event 0, a fraction; .*time_unit='s'"),
        (dict(t=[0.0, 0.9]), 't is 0.9 at event 1, a fraction'),
        (dict(t=[np.nan, 1.0]), 't is nan at event 0; expected a finite number'),
        (dict(t=[1.0, -np.inf]), 't is -inf at event 1'),
        (
            dict(t=np.array([1, 2**63], np.uint64)),
            r't is in 1\.\.9223372036854775808 \(first at event 1',
        ),
        (dict(t=np.float32([2**25, 1])), 't reaches 33554432 as float32.*up to 16777216'),
        (dict(t=['1', '2']), 't has the type <U1; expected whole numbers'),
        (
            dict(t=np.array(['2020-01-01', '2020-01-02'], 'M8[us]')),
            r't has the type datetime64\[us\]',
        ),
        (dict(t=[True, False]), 't has the type bool'),
        (dict(t=np.array([1, None])), 't has the type object'),
        (dict(x=[1.5, 2]), 'x is 1.5 at event 0, a fraction; expected whole pixels'),
        (dict(x=[2, -1]), r'x is in -1\.\.2 \(first at event 1\); expected 0\.\.32767'),
        (dict(y=[2, 40_000]), r'y is in 2\.\.40000 \(first at event 1\)'),
        (dict(x=np.array([1, 65_535], np.uint16)), r'x is in 1\.\.65535'),
        (dict(y=[1j, 2]), 'y has the type complex128'),
        (dict(x=[np.inf, 0]), 'x is inf at event 0'),
        (dict(p=[0, 2]), 'p is 2 at event 1; expected the polarities'),
        (dict(p=[0.5, 1]), 'p is 0.5'),
        (dict(p=[-1, 0]), 'p is -1 at event 0 and 0 at event 1'),
        (dict(p=[np.nan, 1]), 'p is nan'),
        (dict(p=['on', 'off']), 'p has the type <U3'),
        (dict(p=[255, 0]), 'p is 255'),
        (dict(x=[1]), 'must be sequences of one length'),
        (dict(t=[[5, 6]]), 'must be sequences of one'),
    ],
)
def test_make_events_says_what_is_wrong(column, found):
    columns = GOOD | column
    with pytest.raises(ValueError, match=found):
        ev.make_events(**columns)
    if all(np.shape(value) == (2,) for value in columns.values()):
        arrays = {name: np.asarray(value) for name, value in columns.items()}
        rows = np.empty(2, [(name, array.dtype) for name, array in arrays.items()])
        for name, array in arrays.items():
            rows[name] = array
        for function in (
            ev.as_events,
            lambda e: ev.integrate(e, (9, 9), 'number', 2),
            lambda e: ev.frame_index(e, 'time', 2),
            lambda e: ev.flip(e, (9, 9)),
            lambda e: ev.voxel_grid(e, (9, 9), 2),
            lambda e: ev.roll(e, (9, 9)),
            lambda e: ev.time_surface(e, (9, 9), [7], 5),
            lambda e: ev.cutout(e, 0, 0, 1, 1),
            lambda e: ev.trajectory_prompt(e, (9, 9), [0, 9]),
            lambda e: ev.slice_time(e, 0, 9),
            lambda e: ev.resize(e, (9, 9), (3, 3)),
        ):
            with pytest.raises(ValueError, match=found):
                function(rows)


@pytest.mark.parametrize(
    'polarity, expected',
    [
        ([0, 1], [0, 1]),
        ([-1, 1], [0, 1]),
        ([False, True], [0, 1]),
        ([1, 1], [1, 1]),
        ([-1, -1], [0, 0]),
        ([0.0, 1.0], [0, 1]),
        (np.array([0, 1], np.uint8), [0, 1]),
    ],
)
def test_polarities_of_every_kind_are_read(polarity, expected):
    assert ev.make_events([1, 2], [3, 4], [5, 6], polarity)['p'].tolist() == expected


@pytest.mark.parametrize(
    'unit, times, expected',
    [
        ('s', [0.2, 0.9], [200_000, 900_000]),
        ('s', [1, 2], [1_000_000, 2_000_000]),
        ('ms', [0.5, 2.0004], [500, 2000]),
        ('ns', [1999, 2000], [1, 2]),
        ('us', [3.0, 4.0], [3, 4]),
        ('s', [1e-6, 2.9999996], [1, 3_000_000]),
        ('us', [-5, 7], [-5, 7]),
    ],
)
def test_units_of_time(unit, times, expected):
    assert ev.make_events([1, 2], [3, 4], times, [0, 1], unit)['t'].tolist() == expected


def test_units_and_ranges_that_are_none():
    with pytest.raises(ValueError, match="time_unit must be one of .*'seconds'"):
        ev.make_events([1], [1], [1], [1], 'seconds')
    with pytest.raises(ValueError, match='t is in'):
        ev.make_events([1], [1], [2**61], [1], 's')
    with pytest.raises(ValueError, match='t '):
        ev.make_events([1], [1], [1e300], [1], 's')


def test_seconds_are_dealt_to_the_right_frames():
    events = ev.make_events([0, 0], [0, 0], [0.2, 0.9], [1, 1], 's')
    assert ev.integrate(events, (1, 1), 'time', 2).sum((1, 2, 3)).tolist() == [1, 1]
    assert ev.integrate(events, (1, 1), 'duration', duration=350_000).sum((1, 2, 3)).tolist() == [
        1,
        1,
    ]


def test_as_events_leaves_good_events_and_inputs_alone():
    events = ev.make_events(**GOOD)
    assert ev.as_events(events) is events
    rows = np.array(
        [(1, 5.0, 3, -1), (2, 6.0, 4, 1)], [('x', 'u1'), ('t', 'f8'), ('y', 'i8'), ('p', 'i1')]
    )
    before = rows.copy()
    assert np.array_equal(ev.as_events(rows), events) and np.array_equal(rows, before)
    signed = events.copy()
    signed['p'] = [-1, 1]
    assert np.array_equal(ev.as_events(signed), events) and signed['p'].tolist() == [-1, 1]
    assert len(ev.make_events([], [], [], [])) == 0


def test_drop_outside():
    events = ev.make_events([0, 3, 5], [0, 1, 1], [1, 2, 3], [1, 1, 1])
    assert ev.drop_outside(events, (2, 4))['x'].tolist() == [0, 3]
    for size in ((0, 4), (4,), 5, (2.5, 3), None):
        with pytest.raises(ValueError, match='size must be'):
            ev.drop_outside(events, size)


def test_limits_of_times_are_those_of_microseconds():
    """Nanoseconds may be a thousand times as large."""
    most = 2**62
    assert ev.make_events([1], [1], [most], [1], 'ns')['t'].tolist() == [most // 1000]
    assert ev.make_events([1], [1], [-most], [1], 'ns')['t'].tolist() == [-most // 1000]
    times = np.array([2**60], np.int64)
    with pytest.raises(ValueError, match='t is in'):
        ev.make_events([1], [1], times, [1], 's')
