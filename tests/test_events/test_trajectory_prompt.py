"""The Global Trajectory Prompt: the official script's pictures, and the loop it follows."""

import json

import event_writers as write
import numpy as np
import pytest
from parity_fixtures import oracle_folder

from mmbsa import events as ev

ORACLE = oracle_folder()
FIXTURES = sorted(ORACLE.glob('gtp_events*.json'))


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES or [None], ids=lambda path: path.stem if path else 'none')
@pytest.mark.parametrize('quirks', [True, False], ids=['official', 'clean'])
def test_pictures_are_those_of_the_fixture(path, quirks):
    if path is None:
        pytest.skip(f'no gtp_events fixture in {ORACLE} (set MMBSA_ORACLE_DIR)')
    facts, arrays = json.loads(path.read_text()), np.load(path.with_suffix('.npz'))
    size, mode = tuple(facts['sensor_hw']), 'official' if quirks else 'clean'
    t, x, y, p = arrays['events_txyp'].T
    far = 2**15 - 1  # negative pixels are outside the sensor as these are
    events = ev.make_events(np.where(x < 0, far, x), np.where(y < 0, far, y), t, p)
    if not quirks:
        events = ev.drop_outside(events, size)
    cases = sorted(key for key in facts['cases'])
    assert cases
    for case in cases:
        pictures, written = ev.trajectory_prompt(
            events,
            size,
            arrays['frame_timestamps'],
            int(case[1:]),
            amount=facts['alpha'],
            trajectory_amount=facts['alpha_traj'],
            decay=facts['beta'],
            official_quirks=quirks,
        )
        names = {
            f'{window + 1:04d}_{part + 1}.png': pictures[window, part].transpose(1, 2, 0)
            for window, part in np.argwhere(written)
        }
        assert set(names) == set(facts['cases'][case][f'{mode}_files'])
        for name, picture in names.items():
            assert np.array_equal(picture, arrays[f'{mode}.{case}.{name}']), (case, name)
    if f'counts.{cases[0]}' in arrays and not quirks:
        counts = ev.integrate(events, size, 'timestamps', timestamps=arrays['frame_timestamps'])
        assert np.array_equal(counts[:, ::-1], arrays['counts.T1'])


def official_loop(events, size, borders, steps):
    """Follow the script's rules event by event; return {(window, part): picture}.

    The first picture has no trajectory, but the last one has an update in any case.
    """
    pictures = all_but_last_update(events, size, borders, steps)
    if len(pictures) == 1:
        (picture,) = pictures.values()
        picture[2] = np.minimum(30 * (picture[:2] != 0).sum(0), 255)
    return pictures


def all_but_last_update(events, size, borders, steps):
    pictures, state = {}, dict(window=0, part=0, before=None, trajectory=np.zeros(size))
    counts = np.zeros((2, *size))

    def save():
        picture = np.minimum(counts * 30, 255)
        if state['before'] is not None:
            begun = ((state['before'] == 0) & (picture != 0)).sum(0)
            state['trajectory'] = np.clip(state['trajectory'] * 0.8 + 30 * begun, 0, 255)
        pictures[state['window'], state['part']] = np.stack([*picture, state['trajectory']]).astype(
            np.uint8
        )
        state['before'] = picture
        counts[:] = 0

    for x, y, t, p in events.tolist():
        window = state['window']
        if t < borders[0]:
            continue
        if t >= borders[window + 1]:
            save()
            state.update(window=window + 1, part=0)
            if window + 2 == len(borders):
                return pictures
            continue
        ends = np.linspace(borders[window], borders[window + 1], steps + 1)[1:]
        if state['part'] < steps - 1 and t >= ends[state['part']]:
            save()
            state['part'] += 1
        if 0 < x < size[1] and 0 < y < size[0]:
            counts[1 - p, y, x] += 1
    save()
    return pictures


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('steps', [1, 2, 3, 5])
def test_official_quirks_follow_the_loop(seed, steps):
    rng = np.random.default_rng(seed)
    size = (5, 6)
    borders = np.cumsum(rng.choice([1, 3, 40, 900], rng.integers(2, 12))) + 100
    events = write.some_events(
        int(rng.choice([0, 1, 5, 60, 400])), (7, 7), seed, int(borders[-1] * 1.1)
    )
    pictures, written = ev.trajectory_prompt(events, size, borders, steps, official_quirks=True)
    expected = official_loop(events, size, borders.tolist(), steps)
    assert set(map(tuple, np.argwhere(written).tolist())) == set(expected)
    for place, picture in expected.items():
        assert np.array_equal(pictures[place], picture)
    assert not pictures[~written].any()


@pytest.mark.parametrize('steps', [1, 3, 4])
def test_a_stream_of_parts_gives_the_same_pictures(steps):
    events = write.some_events(500, (8, 9), span=1000)
    borders = [0, 100, 102, 500, 1000]
    whole, written = ev.trajectory_prompt(events, (8, 9), borders, steps)
    chunks = (events[first : first + 30] for first in range(0, 500, 30))
    parts = ev.iter_windows(chunks, timestamps=ev.split_windows(borders, steps))
    drawn = np.stack(list(ev.draw_trajectory(parts, (8, 9))))
    assert written.all() and np.array_equal(drawn, whole.reshape(drawn.shape))


def test_known_values():
    # on at (1, 0) in both windows, off at (0, 0) in the second: a trajectory begins there only
    events = ev.make_events([1, 1, 0, 1], [0] * 4, [0, 5, 10, 12], [1, 1, 0, 1])
    pictures, _ = ev.trajectory_prompt(events, (1, 2), [0, 10, 20, 30])
    assert pictures[:, 0, :, 0].tolist() == [
        [[0, 60], [0, 0], [0, 0]],
        [[0, 30], [30, 0], [30, 0]],
        [[0, 0], [0, 0], [24, 0]],
    ]
    many = ev.make_events([0] * 9, [0] * 9, range(9), [1] * 9)
    assert ev.trajectory_prompt(many, (1, 1), [0, 10])[0].ravel().tolist() == [255, 0, 0]


def test_bad_arguments():
    events = write.some_events(5, (8, 9))
    for steps in (0, 1.5, True):
        with pytest.raises(ValueError, match='num_steps'):
            ev.trajectory_prompt(events, (8, 9), [0, 1], steps)
    with pytest.raises(ValueError, match='must increase'):
        ev.trajectory_prompt(events, (8, 9), [1, 0])
    with pytest.raises(ValueError, match='official_quirks=True needs events in the order of time'):
        ev.trajectory_prompt(events[::-1], (8, 9), [0, 10**6], official_quirks=True)


@pytest.mark.parametrize('quirks', [False, True])
@pytest.mark.parametrize('steps', [1, 4])
def test_the_iterator_gives_the_pictures_of_the_array(steps, quirks):
    events = write.some_events(500, (8, 9), span=1000)
    borders, settings = [0, 100, 102, 500, 900], dict(num_steps=steps, official_quirks=quirks)
    whole, written = ev.trajectory_prompt(events, (8, 9), borders, **settings)
    for source in (events, (events[first : first + 30] for first in range(0, 500, 30))):
        seen = np.zeros_like(written)
        for window, part, picture in ev.iter_trajectory_prompt(source, (8, 9), borders, **settings):
            assert np.array_equal(picture, whole[window, part])
            seen[window, part] = True
        assert np.array_equal(seen, written)


def test_a_fault_after_the_last_window_is_an_error():
    def chunks():
        yield write.some_events(500, (8, 9), span=1000)
        raise ValueError('damaged')

    with pytest.raises(ValueError, match='damaged'):
        list(ev.iter_trajectory_prompt(chunks(), (8, 9), [0, 10, 20]))
