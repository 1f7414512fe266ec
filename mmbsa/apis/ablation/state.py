"""State of a cell: it is completely on disk, so that a runner may be killed at any time."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mmbsa.apis.ablation.grid import Cell, GridError
from mmbsa.utils.files import atomic_open

STATE, LOCK, LOG, CONFIG, RATES = (
    'state.json',
    'lock',
    'train.log',
    'config.py',
    'firing_rates.json',
)
ENERGY = 'energy.json'
#: default hook that measures firing rates; added to every cell unless its config has one.
RATE_HOOK = dict(type='mmbsa.FiringRateHook')
#: default hook that counts energy; a few batches are enough for the mean.
ENERGY_HOOK = dict(type='mmbsa.EnergyHook', max_batches=8)


class CellFolder:
    """Folder of a cell: its config, logs, checkpoints, state and lock.

    Args:
        root: folder of the grid.
        cell: the cell.
        metric: the metric that is compared.
    """

    def __init__(self, root: Path, cell: Cell, metric: str):
        self.cell, self.metric, self.path = cell, metric, Path(root) / cell.name

    def read(self) -> dict:
        """Return the recorded state; empty if there is none."""
        try:
            return json.loads((self.path / STATE).read_text())
        except FileNotFoundError:
            return {}

    def note(self, **news) -> None:
        """Add entries to the state, atomically."""
        with atomic_open(self.path / STATE) as file:
            file.write(json.dumps({**self.read(), **news}, indent=1).encode())

    @contextmanager
    def lock(self) -> Iterator[int | None]:
        """Context that yields the descriptor of the cell's lock, or None if it is locked elsewhere.

        A training inherits the descriptor and keeps the lock until it ends, also if its runner was
        killed. The system releases the lock when the last process with the descriptor ends for any
        reason.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            yield descriptor
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Return whether a process trains the cell now."""
        if not (self.path / LOCK).exists():
            return False
        with self.lock() as descriptor:
            return descriptor is None

    def write_config(self) -> Path:
        """Write the resolved config as a separate file and return its path.

        Raises:
            GridError: the config has values that a file cannot represent.
        """
        cfg = self.cell.config
        if 'firing_rate' not in (cfg.get('default_hooks') or {}):
            cfg.merge_from_dict({'default_hooks.firing_rate': dict(RATE_HOOK)})
        if 'energy' not in cfg.default_hooks:
            cfg.merge_from_dict({'default_hooks.energy': dict(ENERGY_HOOK)})
        content = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
        path = self.path / CONFIG
        with atomic_open(path) as file:
            file.write(''.join(f'{key} = {value!r}\n' for key, value in content.items()).encode())
        try:
            same = Config.fromfile(path).to_dict() == content
        except (SyntaxError, ValueError) as error:
            raise GridError(
                f'{path}: the resolved config has a value that is not a Python literal: {error}'
            ) from error
        if not same:
            raise GridError(f'{path}: the resolved config changes when it is written to a file')
        return path

    def curve(self) -> dict[int, float]:
        """Return step -> metric of every validation; a resumed run has several logs."""
        curve = {}
        for log in sorted(self.path.glob('*/vis_data/scalars.json')):
            for record in _records(log):
                if self.metric in record and 'step' in record:
                    curve[record['step']] = record[self.metric]
        return dict(sorted(curve.items()))

    def progress(self) -> int:
        """Return the last step in the logs."""
        by_epoch = 'max_epochs' in self.cell.config.train_cfg
        logs = sorted(self.path.glob('*/vis_data/scalars.json'))
        steps = [
            record['epoch' if by_epoch and 'epoch' in record else 'step']
            for log in logs[-1:]
            for record in _records(log)
            if 'step' in record
        ]
        return max(steps, default=0)

    def figures(self) -> dict:
        """Return the last values of the hooks of :mod:`mmbsa.engine`.

        They are firing rate, parameters, and compute energy in mJ of one image.
        """
        found = {}
        try:
            noted = json.loads((self.path / RATES).read_text())
            found = {
                key: noted[key] for key in ('firing_rate', 'parameters') if noted[key] is not None
            }
        except FileNotFoundError:
            pass
        try:
            found['energy_mj'] = json.loads((self.path / ENERGY).read_text())['energy']['compute']
        except FileNotFoundError:
            pass
        return found

    def layer_rate(self, part: str) -> float | None:
        """Return the mean firing rate of the layers whose name contains ``part``; None without
        any."""
        try:
            layers = json.loads((self.path / RATES).read_text()).get('layers', {})
        except FileNotFoundError:
            return None
        rates = [rate for name, rate in layers.items() if part in name]
        return sum(rates) / len(rates) if rates else None

    def is_done(self) -> bool:
        """Return whether the run reached its last validation, and record its results once.

        It does not matter which process ran it.
        """
        state = self.read()
        if state.get('status') == 'done' and state.get('metric') == self.metric:
            return True
        curve = self.curve()
        if self.cell.last_step not in curve:
            return False
        self.note(
            status='done',
            key=self.cell.key,
            values=self.cell.values,
            seed=self.cell.seed,
            metric=self.metric,
            curve=curve,
            final=curve[self.cell.last_step],
            **self.figures(),
        )
        return True

    def result(self) -> dict | None:
        """Return the recorded state of a run that is done, with the curve's steps as numbers."""
        if not self.is_done():
            return None
        state = self.read()
        return {**state, 'curve': {int(step): value for step, value in state['curve'].items()}}

    def status(self) -> str:
        """Return the state of the cell.

        It is ``done``, ``running``, ``failed``, ``submitted``, ``interrupted`` or ``waiting``.
        """
        if self.is_done():
            return 'done'
        if self.is_locked():
            return 'running'
        noted = self.read().get('status', 'waiting')
        return 'interrupted' if noted == 'running' else noted

    def logged(self) -> str:
        """Return the metric names in the logs, for a message about a wrong name."""
        names = {
            key
            for log in self.path.glob('*/vis_data/scalars.json')
            for record in _records(log)
            if 'loss' not in record
            for key in record
        }
        return ', '.join(sorted(names - {'step', 'time', 'data_time'})) or 'no figure'

    def tail(self, lines: int = 8) -> str:
        """Return the end of the training's output, ``lines`` (default 8) lines."""
        log = self.path / LOG
        return (
            '\n'.join(log.read_text(errors='replace').splitlines()[-lines:]) if log.exists() else ''
        )


def _records(log: Path) -> Iterator[dict]:
    for line in log.read_text(errors='replace').splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # a killed process leaves a partial line
            continue
