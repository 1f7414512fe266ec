"""Speed of the event representations compared with a Python loop over the events.

    python tools/benchmarks/events.py
    python tools/benchmarks/events.py --events 1000000 --size 260 346 --json out.json

Each representation is computed from the same random events by ``mmbsa.events`` and by a loop over
single events, in seconds of CPU time; both results must be equal (voxel grids: to 1e-4) before the
tool prints anything. It also shows how many millions of events per second ``read_events`` decodes
from raw EVT 3.0.
"""

import argparse
import json
import math
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from mmbsa import events as ev

STEPS, BINS, TAU = 8, 5, 50_000.0


def loop_counts(events, size, borders):
    """Count events one by one."""
    out, window = np.zeros((len(borders) - 1, 2, *size), np.int64), 0
    for x, y, t, p in events.tolist():
        while t >= borders[window + 1]:
            window += 1
        out[window, p, y, x] += 1
    return out


def loop_voxels(events, size, borders):
    """Distribute events over bins one by one."""
    out = np.zeros((BINS + 1, *size))
    start, span = int(events['t'][0]), int(events['t'][-1] - events['t'][0])
    for x, y, t, p in events.tolist():
        place = (BINS - 1) * (t - start) / span
        low = math.floor(place)
        sign = 2 * p - 1
        out[low, y, x] += sign * (1 - (place - low))
        out[low + 1, y, x] += sign * (place - low)
    return out[:BINS]


def loop_surface(events, size, borders):
    """Store the time of the last event of every pixel, event by event."""
    latest, out, moments = np.full((2, *size), -np.inf), [], list(borders[1:])
    for x, y, t, p in events.tolist():
        while moments and t > moments[0]:
            out.append(np.exp((latest - moments.pop(0)) / TAU))
        latest[p, y, x] = t
    return np.stack(out + [np.exp((latest - moment) / TAU) for moment in moments])


def loop_prompt(events, size, borders):
    """Draw the trajectory prompt event by event."""
    out, window = [], 0
    counts, before, trajectory = np.zeros((2, *size)), None, np.zeros(size)

    def draw():
        nonlocal counts, before, trajectory
        if before is not None:
            begun = ((before == 0) & (counts != 0)).sum(0)
            trajectory = np.clip(trajectory * 0.8 + 30 * begun, 0, 255)
        before = counts
        out.append(np.concatenate([counts, trajectory[None]]).astype(np.uint8))
        counts = np.zeros((2, *size))

    for x, y, t, p in events.tolist():
        while t >= borders[window + 1]:
            draw()
            window += 1
        counts[1 - p, y, x] = min(counts[1 - p, y, x] + 30, 255)
    while len(out) < len(borders) - 1:
        draw()
    return np.stack(out)[:, None]


#: name -> (the package's function, the loop)
REPRESENTATIONS = {
    'count frames': (lambda e, s, b: ev.integrate(e, s, 'timestamps', timestamps=b), loop_counts),
    'voxel grid': (lambda e, s, b: ev.voxel_grid(e, s, BINS), loop_voxels),
    'time surface': (lambda e, s, b: ev.time_surface(e, s, b[1:], TAU), loop_surface),
    'trajectory prompt': (lambda e, s, b: ev.trajectory_prompt(e, s, b)[0], loop_prompt),
}


def random_events(count, size, span, seed=0):
    """Return random events in the order of time."""
    rng = np.random.default_rng(seed)
    return ev.make_events(
        rng.integers(0, size[1], count),
        rng.integers(0, size[0], count),
        np.sort(rng.integers(0, span, count)),
        rng.integers(0, 2, count),
    )


def fastest(function, repeats):
    """Return the result and the shortest CPU time of several calls, in seconds."""
    best = math.inf
    for _ in range(repeats):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return result, best


def compare(count, size, repeats=5):
    """Return the seconds of both versions and their ratio for each representation."""
    span = max(count, 1000)
    events = random_events(count, size, span)
    borders = np.linspace(0, span, STEPS + 1).astype(np.int64)
    report = {}
    for name, (ours, loop) in REPRESENTATIONS.items():
        arguments = (events, size, borders)
        result, seconds = fastest(partial(ours, *arguments), repeats)
        expected, slow = fastest(partial(loop, *arguments), 1)
        tolerance = 0 if result.dtype.kind in 'iu' else 1e-4
        np.testing.assert_allclose(result, expected, atol=tolerance)
        report[name] = dict(seconds=seconds, loop_seconds=slow, ratio=slow / seconds)
    return report


def decoding_rate(count, repeats=3):
    """Return millions of events per second from raw EVT 3.0, one word per event and per row."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 2**24, count // 64 + 1))
    words = np.empty((len(t), 67), '<u2')
    words[:, 0], words[:, 1] = 0x8000 | t >> 12, 0x6000 | (t & 0xFFF)
    words[:, 2] = rng.integers(0, 720, len(t))
    words[:, 3:] = (
        0x2000 | rng.integers(0, 2, (len(t), 64)) << 11 | rng.integers(0, 1280, (len(t), 64))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'a.raw')
        path.write_bytes(b'% evt 3.0\n% end\n' + words.tobytes())
        events, seconds = fastest(lambda: ev.read_events(path), repeats)
    return len(events) / seconds / 1e6


def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--events', type=int, default=1_000_000)
    parser.add_argument('--size', type=int, nargs=2, default=(260, 346), help='height width')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args(argv)
    report = compare(args.events, tuple(args.size))
    print(f'{args.events} events, {args.size[0]} x {args.size[1]}, {STEPS} windows')
    for name, row in report.items():
        print(
            f'{name:18} {row["seconds"] * 1e3:8.1f} ms   loop {row["loop_seconds"] * 1e3:8.1f} ms'
            f'   {row["ratio"]:6.1f} times'
        )
    rate = decoding_rate(args.events)
    print(f'raw EVT 3.0        {rate:8.1f} million events per second')
    if args.json:
        args.json.write_text(
            json.dumps(dict(report, evt3_million_events_per_second=rate), indent=1)
        )


if __name__ == '__main__':
    main()
