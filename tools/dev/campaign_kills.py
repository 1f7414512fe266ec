"""Kill tasks at random times, start them again, and compare with the results of undisturbed tasks.

    python tools/dev/campaign_kills.py train=70 cache=50 convert=50 ablate=30 --seconds 3000

* ``train``: a tiny segmentor on drawn scenes, with validations, best checkpoints, accumulated
  gradients, moving averages and a data worker;
* ``cache``: recordings that are loaded through a cache of frames, in a data worker;
* ``convert``: a tracking benchmark that ``tools/dataset_converters/stack_events.py`` converts, in
  two workers;
* ``ablate``: a grid of two cells; the runner or a training is killed.

Each task is killed with SIGKILL and started again until it is complete, repeatedly. After each kill
no process and no partial file may remain. Each complete task must have the results of the
undisturbed one, bit for bit, and no hidden file.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from forked import command, fork, kill, naming, survivors, wait  # noqa: E402
from kill_tasks import TASKS, Task, preload  # noqa: E402

LIMIT = 600  # longest time in seconds of a task that is not killed


def same(one: object, other: object) -> bool:
    """Return whether two results are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    return one == other


def kills(
    task: Task, folder: Path, number: int, seconds: float, seed: int = 0
) -> tuple[Counter, list[str]]:
    """Kill a task repeatedly; return the number of each event, and the failures."""
    draw, counts, faults = random.Random(seed), Counter(), []
    task.prepare(folder)
    begin = time.monotonic()
    (whole := folder / 'whole').mkdir()
    if wait(fork(task.work, whole, log=folder / 'whole.log'), LIMIT) != 0:
        return counts, ['undisturbed it fails:\n' + (folder / 'whole.log').read_text()[-2000:]]
    took, expected, round_ = time.monotonic() - begin, task.result(whole), 0
    begin = time.monotonic()
    while counts['kills'] < number and not faults:
        if counts['kills'] and time.monotonic() - begin > seconds:
            break
        here, log = folder / f'run_{round_}', folder / f'run_{round_}.log'
        here.mkdir()
        round_ += 1
        code = None
        while code is None and not faults:
            code = _once(task, here, log, number, took, draw, counts, faults)
        if code:
            faults.append(f'run {round_} ends with {code}:\n' + log.read_text()[-2000:])
        elif not faults:
            counts['through'] += 1
            found = task.result(here)
            wrong = [key for key in expected if not same(expected[key], found.get(key))]
            counts['equal'] += not wrong and expected.keys() == found.keys()
            if wrong or expected.keys() != found.keys():
                faults.append(f'run {round_}: {len(wrong)} of {len(expected)} results differ')
            faults += [f'run {round_} leaves {path}' for path in here.rglob('.*')]
        shutil.rmtree(here, ignore_errors=True)
    return counts, faults


def _once(
    task: Task,
    here: Path,
    log: Path,
    number: int,
    took: float,
    draw: random.Random,
    counts: Counter,
    faults: list[str],
) -> int | None:
    """Start a task and kill it at a random time; return its exit code if it ended before."""
    child = fork(task.work, here, log=log)
    while True:
        # the last part of a task is short, so the task is sometimes not killed
        more = counts['kills'] < number and draw.random() < 0.8
        code = wait(child, draw.uniform(0, took) if more else LIMIT)
        if code is not None or not more:
            break
        victim = task.victim(child, here, draw)
        counts['kills'] += 1
        if victim == child:
            kill(child)
            break
        counts['of them kills of children'] += 1
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    if code is None and not more:
        kill(child)
        faults.append(f'it does not end within {LIMIT} s:\n' + log.read_text()[-2000:])
    left = survivors(child)
    if code is not None:  # after a complete task no process may run, in any session
        left += naming(str(here))
    counts['processes left'] += len(left)
    faults += [f'process {pid} is left: {command(pid)}' for pid in left] + task.faults(here)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('tasks', nargs='+', metavar='TASK=KILLS')
    parser.add_argument(
        '--seconds', type=float, default=3600, help='time per task; a started run is completed'
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    wanted = dict(task.split('=') for task in args.tasks)
    if unknown := set(wanted) - set(TASKS):
        parser.error(f'unknown: {", ".join(sorted(unknown))}; there are {", ".join(TASKS)}')
    preload()
    torch.set_num_threads(1)
    failed = False
    for name, number in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            counts, faults = kills(TASKS[name], Path(folder), int(number), args.seconds, args.seed)
            for pid in naming(folder) if faults else ():  # processes of a failed task
                os.kill(pid, signal.SIGKILL)
        print(f'{name}:', ', '.join(f'{n} {what}' for what, n in counts.items()), flush=True)
        print('\n'.join(faults))
        failed |= bool(faults)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
