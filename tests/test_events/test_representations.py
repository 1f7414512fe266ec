"""Voxel grids and time surfaces against their equations, event by event, and their speed."""

import math
import sys
from pathlib import Path

import event_writers as write
import numpy as np
import pytest

from mmbsa import events as ev

SIZE = (6, 7)


@pytest.mark.parametrize('bins, span', [(1, 500), (5, 500), (9, 3), (4, 1)])
def test_voxel_grid_is_its_equation(bins, span):
    events = write.some_events(150, SIZE, span=span, start=-100)
    before = events.copy()
    first, last = int(events['t'].min()), int(events['t'].max())
    expected = np.zeros((bins, *SIZE))
    for x, y, t, p in events.tolist():
        place = (bins - 1) * (t - first) / max(last - first, 1)
        for b in range(bins):
            expected[b, y, x] += (1 if p else -1) * max(0, 1 - abs(b - place))
    grid = ev.voxel_grid(events, SIZE, bins)
    assert grid.shape == (bins, *SIZE) and grid.dtype == np.float32
    np.testing.assert_allclose(grid, expected, atol=1e-5)
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_allclose(ev.voxel_grid(events[order], SIZE, bins), expected, atol=1e-5)
    assert np.array_equal(events, before)


def test_voxel_grid_of_a_span():
    events = ev.make_events([0, 1, 2, 3], [0] * 4, [0, 10, 20, 30], [1, 1, 0, 1])
    grid = ev.voxel_grid(events, (1, 4), 3, start=10, stop=20)
    assert grid[:, 0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, -1, 0]]
    assert not ev.voxel_grid(events[:0], (1, 4), 3).any()
    with pytest.raises(ValueError, match='stop must not be before start'):
        ev.voxel_grid(events, (1, 4), 3, start=5, stop=4)
    for bins in (0, 2.5, True):
        with pytest.raises(ValueError, match='num_bins'):
            ev.voxel_grid(events, (1, 4), bins)


def test_time_surface_is_its_equation():
    events = write.some_events(150, SIZE, span=900)
    order = np.random.default_rng(0).permutation(150)
    moments = [-5, 100, 100, 555, 2000]
    expected = np.zeros((5, 2, *SIZE))
    for k, moment in enumerate(moments):
        for x, y, t, p in events.tolist():
            if t <= moment:
                expected[k, p, y, x] = math.exp((t - moment) / 300)
    for given in (events, events[order]):
        surface = ev.time_surface(given, SIZE, moments, 300.0)
        assert surface.dtype == np.float32
        np.testing.assert_allclose(surface, expected, rtol=1e-5, atol=1e-7)


def test_time_surface_arguments():
    events = write.some_events(5, SIZE)
    for times in ([5, 4], [0.5], 3):
        with pytest.raises(ValueError, match='times must be'):
            ev.time_surface(events, SIZE, times, 10)
    for tau in (0, -1.0, float('nan')):
        with pytest.raises(ValueError, match='tau must be positive'):
            ev.time_surface(events, SIZE, [5], tau)
    assert not ev.time_surface(events[:0], SIZE, [5], 10).any()


@pytest.mark.parametrize(
    'make',
    [
        lambda e: ev.voxel_grid(e, (6, 6), 3),
        lambda e: ev.time_surface(e, (6, 6), [9], 5),
        lambda e: ev.trajectory_prompt(e, (6, 6), [0, 10**6]),
    ],
)
def test_events_outside_the_sensor_are_refused(make):
    with pytest.raises(ValueError, match=r'x in .*\.\.6, but the sensor of 6 x 6'):
        make(write.some_events(200, SIZE))


def test_representations_are_much_faster_than_a_loop(monkeypatch):
    """The benchmark's own comparison, which compares the results too; it prints 34 and more."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / 'tools' / 'benchmarks'))
    sys.modules.pop('events', None)
    import events as benchmark

    report = benchmark.compare(400_000, (60, 80))
    assert set(report) == {'count frames', 'voxel grid', 'time surface', 'trajectory prompt'}
    assert all(row['ratio'] > 20 for row in report.values()), report
