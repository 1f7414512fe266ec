"""Run the cells of a grid on one machine: several at a time, resumable after any interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmbsa.apis.ablation.grid import GridError
from mmbsa.apis.ablation.state import LOG, CellFolder
from mmbsa.apis.ablation.table import rounded

#: seconds between two checks of the running trainings, and between SIGTERM and SIGKILL.
PAUSE, GRACE = 0.2, 20


@dataclass
class Training:
    """A process that trains a cell, with its resources."""

    folder: CellFolder
    process: subprocess.Popen
    slot: int
    started: float
    core_seconds: float = 0.0

    def ended(self) -> bool:
        """Return whether the process has ended; if so, record its computing time."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.core_seconds = usage.ru_utime + usage.ru_stime
        return self.process.returncode is not None


@dataclass
class LocalRunner:
    """Train cells in processes of this machine.

    Attributes:
        tools: folder of ``train.py`` and ``dist_train.sh``.
        jobs: number of trainings at a time.
        gpus: number of GPUs per training, if there are GPUs; more than 1 uses ``dist_train.sh``.
        retries: how often a training that was ended by a signal (out of memory, a reboot, ...) is
            resumed within this call.
        say: function that prints a message to the user.
        running: the trainings that run now.
    """

    tools: Path
    jobs: int = 1
    gpus: int = 1
    retries: int = 1
    say: Callable[[str], None] = print
    running: list[Training] = field(default_factory=list)

    def run(self, folders: list[CellFolder]) -> list[CellFolder]:
        """Train the cells that are not done, and return the cells that failed.

        It waits for a cell that another process trains. It reports a cell that fails, and continues
        with the others. SIGINT and SIGTERM end the trainings and then raise KeyboardInterrupt; the
        same command later resumes the trainings from their last checkpoints.

        Args:
            folders: folders of the cells.
        """
        waiting, failed, kills = deque(folders), [], {}
        with self._interruptible():
            try:
                while waiting or self.running:
                    progressed = self._start(waiting, len(folders))
                    for training in [t for t in self.running if t.ended()]:
                        self.running.remove(training)
                        progressed = True
                        again = self._finish(training, kills)
                        if again:
                            waiting.append(training.folder)
                        elif again is None:
                            failed.append(training.folder)
                    if not progressed:
                        time.sleep(PAUSE)
            finally:
                self._end_all()
        return failed

    def _start(self, waiting: deque, total: int) -> bool:
        """Start trainings in the free slots, and return whether one started or was skipped.

        A cell that another process trains moves to the end of the queue.
        """
        happened = False
        for _ in range(len(waiting)):
            if len(self.running) >= self.jobs:
                break
            folder = waiting.popleft()
            # a training whose runner was killed may still finish
            if folder.is_done() and not folder.is_locked():
                happened = True
                continue
            with folder.lock() as descriptor:
                if descriptor is None:
                    waiting.append(folder)
                    continue
                slot = min(set(range(self.jobs)) - {training.slot for training in self.running})
                self._train(folder, slot, descriptor)
                happened = True
                self.say(
                    f'{total - len(waiting)}/{total} {folder.cell.name}: '
                    + (f'continues after step {step}' if (step := folder.progress()) else 'starts')
                )
        return happened

    def _train(self, folder: CellFolder, slot: int, descriptor: int) -> None:
        config = folder.write_config()
        arguments = [str(config), '--work-dir', str(folder.path), '--resume']
        if self.gpus > 1:
            command = [
                'bash',
                str(self.tools / 'dist_train.sh'),
                arguments[0],
                str(self.gpus),
                *arguments[1:],
            ]
        else:
            command = [sys.executable, '-u', str(self.tools / 'train.py'), *arguments]
        folder.note(
            status='running',
            key=folder.cell.key,
            values=folder.cell.values,
            seed=folder.cell.seed,
            attempts=folder.read().get('attempts', 0) + 1,
        )
        with open(folder.path / LOG, 'ab') as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(slot),
                start_new_session=True,
                pass_fds=[descriptor],
            )
        self.running.append(Training(folder, process, slot, time.time()))
        folder.note(pid=process.pid)

    def environment(self, slot: int) -> dict[str, str]:
        """Return environment variables that give a slot a share of the cores and GPUs."""
        threads = max(1, len(os.sched_getaffinity(0)) // (self.jobs * self.gpus))
        env = {'OMP_NUM_THREADS': str(threads), 'PYTHON': sys.executable, **os.environ}
        env['PYTHONPATH'] = os.pathsep.join(
            filter(None, [str(self.tools.parent), os.environ.get('PYTHONPATH')])
        )
        devices = visible_gpus()
        if devices:
            env['CUDA_VISIBLE_DEVICES'] = ','.join(
                devices[(slot * self.gpus + index) % len(devices)] for index in range(self.gpus)
            )
        return env

    def _finish(self, training: Training, kills: dict[str, int]) -> bool | None:
        """Record how a training ended.

        Returns:
            True if it must be resumed, None if it failed, otherwise False.
        """
        folder, code = training.folder, training.process.returncode
        before, name = folder.read(), folder.cell.name
        spent = dict(
            seconds=before.get('seconds', 0) + time.time() - training.started,
            core_seconds=before.get('core_seconds', 0) + training.core_seconds,
        )
        if folder.is_done():  # its last validation is on the disk, whatever happened after it
            folder.note(**spent)
            self.say(
                f'{name}: {folder.metric} {rounded(folder.read()["final"])} after '
                f'{spent["seconds"]:.0f} s, '
                f'{spent["core_seconds"]:.0f} s of one core'
                + (f'; then ended with {code}' if code else '')
            )
            return False
        if code < 0 and kills.get(name, 0) < self.retries:
            kills[name] = kills.get(name, 0) + 1
            folder.note(**spent)
            self.say(
                f'{name}: ended by {signal.Signals(-code).name}; it continues from its last '
                'checkpoint'
            )
            return True
        reason = (
            f'ended with {code}'
            if code
            else f'ended without a {folder.metric} at its last step '
            f'{folder.cell.last_step}: its validations have {folder.logged()}'
        )
        folder.note(status='failed', reason=reason, returncode=code, tail=folder.tail(), **spent)
        self.say(f'{name}: {reason}; the end of {folder.path / LOG}:\n{folder.tail()}')
        return None

    def _end_all(self) -> None:
        """End the trainings that still run, with all processes that they started."""
        for kind, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            for training in self.running:
                if training.process.poll() is None:
                    os.killpg(training.process.pid, kind)
            until = time.monotonic() + patience
            for training in self.running:
                try:
                    training.process.wait(max(0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue  # the next, stronger signal ends this one
        self.running.clear()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Context in which SIGTERM has the effect of Ctrl-C."""

        def stop(number, frame):
            raise KeyboardInterrupt

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs for trainings, as in CUDA_VISIBLE_DEVICES."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is not None:
        return [name.strip() for name in named.split(',') if name.strip() and name.strip() != '-1']
    try:
        listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return [
        str(index)
        for index, line in enumerate(listed.stdout.splitlines())
        if line.startswith('GPU ')
    ]


def evaluate_test_split(folder: CellFolder, tools: Path) -> float:
    """Evaluate the last checkpoint of a finished run on its config's test split, once.

    Args:
        folder: folder of the cell.
        tools: folder of ``test.py``.

    Returns:
        The metric.

    Raises:
        GridError: the run has no checkpoint, or the evaluation failed or has no such metric.
    """
    from mmbsa.utils.checkpoint import (
        checkpoints_newest_first,
    )  # the import needs torch, which the rest of this module does not

    state = folder.read()
    if 'test' in state:
        return state['test']
    template = 'epoch_{}.pth' if folder.cell.config.train_cfg.get('max_epochs') else 'iter_{}.pth'
    checkpoints = checkpoints_newest_first(folder.path, template)
    if not checkpoints:
        raise GridError(f'{folder.path} has no checkpoint to test')
    out, log = folder.path / 'test', folder.path / 'test.log'
    with open(log, 'w') as file:
        code = subprocess.run(
            [
                sys.executable,
                str(tools / 'test.py'),
                str(folder.write_config()),
                str(checkpoints[0]),
                '--work-dir',
                str(out),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=LocalRunner(tools).environment(0),
        ).returncode
    found = sorted(out.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    figures = json.loads(found[-1].read_text()) if found else {}
    if code or folder.metric not in figures:
        raise GridError(
            f'the test of {folder.cell.name} gave no {folder.metric}; its output is in {log}'
        )
    folder.note(test=figures[folder.metric])
    return figures[folder.metric]
