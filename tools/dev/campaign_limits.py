"""Runs with missing resources, and runs that compete for the same folder.

    python tools/dev/campaign_limits.py                    # every case once
    python tools/dev/campaign_limits.py disk_full=30 oom=5

* ``disk_full``: files above a random size cannot be written;
* ``read_only_work_dir``, ``read_only_cache``, ``no_home``: folders that cannot be written;
* ``oom``, ``dead_worker``: a data worker needs more memory than available, or is killed;
* ``same_work_dir``, ``same_cache``: two runs in one work dir; three processes that fill one cache.

A run that cannot continue must end by itself within 60 s with an error that names the file, folder
or reason, and existing checkpoints must remain complete. Other runs must continue.
"""

import argparse
import ctypes
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from forked import children, fork, kill, limit, wait  # noqa: E402
from kill_tasks import (  # noqa: E402
    ITERS,
    broken_checkpoints,
    broken_frames,
    cache,
    cached,
    config,
    preload,
    write_recordings,
)

from mmbsa.utils.launch import run  # noqa: E402

LIMIT = 60


def train(work_dir: Path, workers: int = 0, **options) -> None:
    """Train, or resume, in this process."""
    torch.set_num_threads(1)
    cfg = config(work_dir, workers)
    cfg.merge_from_dict(options)
    run(cfg, 'train')


def whole_run(folder: Path) -> Path:
    """Run an undisturbed training, once per campaign; return its work dir."""
    whole = folder.parent / 'whole'
    if not whole.exists():
        code = wait(fork(train, whole, log=folder.parent / 'whole.log'), 600)
        if code != 0:
            raise RuntimeError((folder.parent / 'whole.log').read_text()[-2000:])
    return whole


def half_run(folder: Path) -> Path:
    """Return a copy of this run without its last checkpoint, from which a run resumes."""
    work_dir = folder / 'run'
    shutil.copytree(whole_run(folder), work_dir)
    (work_dir / f'iter_{ITERS}.pth').unlink()
    return work_dir


def outcome(
    function: Callable, folder: Path, *args, words: tuple[str, ...], meddle: Callable | None = None
) -> list[str]:
    """Run a function that must fail; return the faults of its end.

    Args:
        function: function that runs in a separate process, with ``args``.
        folder: folder of its output.
        words: words that the output must contain.
        meddle: called with the process and the file of its output while it runs; None by default.
    """
    log = folder / 'log'
    child, begin = fork(function, *args, log=log), time.monotonic()
    if meddle is not None:
        meddle(child, log)
        begin = time.monotonic()
    code = wait(child, max(LIMIT + begin - time.monotonic(), 0.1))
    text = log.read_text() if log.exists() else ''
    faults = []
    if code is None:
        kill(child)
        faults.append(f'it does not end within {LIMIT} s:\n{text[-2000:]}')
    elif code <= 0:
        faults.append(f'it ends with {code}:\n{text[-2000:]}')
    missing = [word for word in words if word not in text]
    return faults + ([f'it does not say {missing}:\n{text[-2000:]}'] if missing else [])


def kept(work_dir: Path, before: dict[Path, int]) -> list[str]:
    """Return the faults in a work dir after a failure."""
    faults = [f'{path.name} is gone' for path in before if not path.exists()]
    return faults + broken_checkpoints(work_dir) + [str(p) for p in work_dir.glob('.*.tmp')]


def sizes(work_dir: Path) -> dict[Path, int]:
    """Return checkpoint -> size."""
    return {path: path.stat().st_size for path in work_dir.glob('iter_*.pth')}


def disk_full(folder: Path, draw: random.Random) -> list[str]:
    """Writes fail above a random size, in a new run or in a resumed one."""
    largest = max(sizes(whole_run(folder)).values())
    work_dir = half_run(folder) if draw.random() < 0.5 else folder / 'run'
    before, most = sizes(work_dir), draw.randrange(1000, largest)

    def work() -> None:
        limit(file_size=most)
        train(work_dir)

    faults = outcome(work, folder, words=('File too large', str(work_dir)))
    return faults + kept(work_dir, before)


def bound(function: Callable, *args) -> None:
    """Call a function without root's right to write read-only files (CAP_DAC_OVERRIDE)."""
    if os.getuid() == 0:
        none, version = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 2)(0x20080522, 0)
        if ctypes.CDLL(None, use_errno=True).capset(version, none):
            raise OSError(ctypes.get_errno(), 'capset')
    function(*args)


def read_only_work_dir(folder: Path, draw: random.Random) -> list[str]:
    """A run resumes in a work dir that cannot be written."""
    work_dir = half_run(folder)
    before = sizes(work_dir)
    work_dir.chmod(0o555)
    faults = outcome(bound, folder, train, work_dir, words=('Permission denied', str(work_dir)))
    work_dir.chmod(0o755)
    return faults + kept(work_dir, before)


def read_only_cache(folder: Path, draw: random.Random) -> list[str]:
    """A cache cannot be written: existing files are read, a missing one is named in the error."""
    if not (folder.parent / 'recordings').exists():
        write_recordings(folder.parent)
    os.symlink(folder.parent / 'recordings', folder / 'recordings')
    (here := folder / 'run').mkdir()
    if wait(fork(cache, here, log=folder / 'first'), 300) != 0:
        return [(folder / 'first').read_text()[-2000:]]
    whole, faults = cached(here), []
    for path in here.rglob('*'):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (here / 'sums.json').unlink()
    if wait(fork(bound, cache, here, log=folder / 'second'), 300) != 0:
        faults.append('what is there is not read:\n' + (folder / 'second').read_text()[-2000:])
    elif cached(here) != whole:
        faults.append('it reads something else')
    gone = draw.choice(sorted((here / 'cache').rglob('*.npz')))
    gone.unlink()  # as root
    faults += outcome(bound, folder, cache, here, words=('Permission denied', str(gone)))
    return faults + broken_frames(here)


def no_home(folder: Path, draw: random.Random) -> list[str]:
    """HOME is unset, or is a folder that does not exist; both runs must train."""
    faults = []
    for name, home in (('unset', None), ('missing', '/dev/null/home')):

        def work(name=name, home=home) -> None:
            os.environ.pop('HOME', None)
            if home is not None:
                os.environ['HOME'] = home
            train(folder / name)

        code = wait(fork(work, log=folder / f'{name}.log'), 300)
        if code != 0:
            faults.append(f'HOME {name}: {code}\n' + (folder / f'{name}.log').read_text()[-2000:])
    return faults


def greedy(work_dir: Path) -> None:
    """Train with a data worker that allocates memory without end in its third sample."""
    from mmbsa.datasets.transforms import DrawScene

    whole, calls = DrawScene.transform, []

    def transform(self, results: dict) -> dict:
        calls.append(None)
        if len(calls) == 3 and torch.utils.data.get_worker_info() is not None:
            limit(memory=512 << 20)
            bytearray(1 << 30)
        return whole(self, results)

    DrawScene.transform = transform
    train(work_dir, 1)


def oom(folder: Path, draw: random.Random) -> list[str]:
    """A data worker has no free memory."""
    work_dir = half_run(folder)
    before = sizes(work_dir)
    faults = outcome(greedy, folder, work_dir, words=('MemoryError', 'DrawScene'))
    return faults + kept(work_dir, before)


def kill_a_worker(child: int, log: Path) -> None:
    """Send SIGKILL to a data worker of a process, as the system does without free memory."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = children(child)
        if found and 'Iter(train)' in log.read_text():
            with suppress(ProcessLookupError):
                os.kill(found[-1], signal.SIGKILL)
            return
        time.sleep(0.05)


def dead_worker(folder: Path, draw: random.Random) -> list[str]:
    """A data worker is killed."""
    work_dir = folder / 'run'

    def work() -> None:
        train(work_dir, 1, **{'train_cfg.max_iters': 10_000, 'default_hooks.logger.interval': 1})

    faults = outcome(
        work, folder, words=('DataLoader worker', 'killed by signal'), meddle=kill_a_worker
    )
    return faults + kept(work_dir, {})


def same_work_dir(folder: Path, draw: random.Random) -> list[str]:
    """A second run raises an error, and the first one continues."""
    work_dir = folder / 'run'

    def endless() -> None:
        train(work_dir, **{'train_cfg.max_iters': 10_000})

    first = fork(endless, log=folder / 'first')
    until = time.monotonic() + 120
    while not list(work_dir.glob('iter_*.pth')) and time.monotonic() < until:
        time.sleep(0.05)
    faults = outcome(train, folder, work_dir, words=('is in use by another run', str(work_dir)))
    if (code := wait(first, 3)) is None:
        kill(first)
        for draft in work_dir.glob('.*.tmp'):  # the kill may interrupt a write
            draft.unlink()
    else:
        faults.append(f'the first run ends with {code}:\n' + (folder / 'first').read_text()[-2000:])
    return faults + kept(work_dir, {}) + ([] if sizes(work_dir) else ['no checkpoint'])


def same_cache(folder: Path, draw: random.Random) -> list[str]:
    """Three processes fill one cache at once."""
    write_recordings(folder)
    for name in ('a', 'b', 'c'):
        (folder / name).mkdir()
        os.symlink(folder / 'cache', folder / name / 'cache')
    (folder / 'cache').mkdir()
    processes = [fork(cache, folder / name, log=folder / f'{name}.log') for name in 'abc']
    codes = [wait(process, 300) for process in processes]
    faults = [] if codes == [0] * 3 else [f'{codes}:\n' + (folder / 'a.log').read_text()[-2000:]]
    found = [(folder / name / 'sums.json').read_text() for name in 'abc'] if not faults else []
    if len(set(found)) > 1:
        faults.append('they read different frames')
    left = [str(path) for path in (folder / 'cache').rglob('.*')]
    return faults + broken_frames(folder) + left


CASES = dict(
    disk_full=disk_full,
    read_only_work_dir=read_only_work_dir,
    read_only_cache=read_only_cache,
    no_home=no_home,
    oom=oom,
    dead_worker=dead_worker,
    same_work_dir=same_work_dir,
    same_cache=same_cache,
)


def campaign(name: str, number: int, folder: Path, seed: int = 0) -> list[str]:
    """Run a case ``number`` times; return the faults."""
    draw, faults = random.Random(seed), []
    for index in range(number):
        (here := folder / f'{name}_{index}').mkdir()
        faults += [f'{name} {index}: {fault}' for fault in CASES[name](here, draw)]
        shutil.rmtree(here, ignore_errors=True)
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('cases', nargs='*', metavar='CASE=COUNT')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    preload()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, number in (case.split('=') for case in args.cases or [f'{c}=1' for c in CASES]):
            faults = campaign(name, int(number), Path(folder), args.seed)
            print(f'{name}: {number} tried, {len(faults)} faults', flush=True)
            print(*faults, sep='\n', flush=True)
            failed |= bool(faults)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
