"""Tasks of :mod:`campaign_kills`: their work, their results, and files that must not remain."""

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random

import numpy as np
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmbsa.utils.checkpoint import is_whole, load_checkpoint_file
from mmbsa.utils.launch import run
from mmbsa.utils.processes import init_worker

ROOT = Path(__file__).resolve().parents[2]
ITERS = 8
sys.path.insert(0, str(ROOT / 'tests'))  # tiny data and models


@dataclass(frozen=True)
class Task:
    """Work in a folder that can be resumed after a kill.

    Attributes:
        work: does the work, or the rest of it.
        result: results of the work, as text or tensors by name; they do not depend on kills.
        faults: returns files that must not exist after a kill.
        prepare: creates the input once; its argument is the folder of all runs.
        victim: selects the process to kill, from that of ``work``.
    """

    work: Callable[[Path], None]
    result: Callable[[Path], dict]
    faults: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = lambda folder: None
    victim: Callable[[int, Path, Random], int] = lambda child, folder, draw: child


def config(work_dir: Path, workers: int = 1) -> Config:
    """Return a small quickstart config: 8 iterations of 2 scenes.

    It has a checkpoint every 2 and a validation every 4 iterations.
    """
    cfg = Config.fromfile(ROOT / 'configs' / 'bsa_quickstart.py')
    loader = dict(num_workers=workers, persistent_workers=workers > 0)
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            launcher='none',
            resume=True,
            train_cfg=dict(max_iters=ITERS, val_interval=4),
            train_dataloader=dict(batch_size=2, **loader),
            val_dataloader=dict(loader, dataset=dict(length=2)),
            default_hooks=dict(checkpoint=dict(interval=2, max_keep_ckpts=2)),
            optim_wrapper=dict(accumulative_counts=3),
            custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        )
    )
    return cfg


def train(work_dir: Path, workers: int = 1) -> None:
    """Train, or resume, in this process."""
    torch.set_num_threads(1)
    run(config(work_dir, workers), 'train')


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    """Return name -> weights, moving averages and tensors of the optimizer at the end of a run."""
    saved = load_checkpoint_file(work_dir / f'iter_{ITERS}.pth', 'cpu')
    found = {
        f'{part}.{key}': value
        for part in ('state_dict', 'ema_state_dict')
        for key, value in saved[part].items()
    }
    for index, state in saved['optimizer']['state'].items():
        found.update(
            {f'optimizer.{index}.{key}': torch.as_tensor(value) for key, value in state.items()}
        )
    return found


def broken_checkpoints(folder: Path) -> list[str]:
    """Return the checkpoints that are not complete."""
    return [f'{path.name} is not whole' for path in folder.rglob('*.pth') if not is_whole(path)]


def write_recordings(folder: Path) -> None:
    """Write 24 recordings of two classes, and 8 sequences of a tracking benchmark."""
    writers, boxes = import_module('event_writers'), import_module('tiny_tracking').boxes
    for index in range(24):
        events = writers.some_events(20_000, seed=index)
        path = folder / 'recordings' / 'train' / 'ab'[index % 2] / f'{index:02d}.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: events[name] for name in 'xytp'})
    for index in range(8):
        sequence = folder / 'fe108' / 'train' / f'{index}'
        sequence.mkdir(parents=True)
        writers.write_dat(
            sequence / 'events.dat', writers.some_events(3_000, seed=index), size=writers.SIZE
        )
        np.savetxt(sequence / 'timestamps.txt', np.arange(0, 90_001, 3_000), fmt='%d')
        np.savetxt(sequence / 'groundtruth_rect.txt', boxes(30), delimiter=',', fmt='%g')


def cache(folder: Path) -> None:
    """Load all recordings through a cache, in a data worker."""
    datasets = import_module('mmbsa.datasets')
    size = import_module('event_writers').SIZE
    step = dict(type='mmbsa.LoadEventFrames', num_frames=8, cache_dir=str(folder / 'cache'))
    data = datasets.EventDataset(
        str(folder.parent / 'recordings'), 'train', sensor_size=size, pipeline=[step]
    )
    loader = DataLoader(
        data,
        batch_size=None,
        num_workers=1,
        multiprocessing_context='fork',
        collate_fn=lambda sample: sample,
        worker_init_fn=partial(init_worker, None),  # as in the runs of this package
    )
    (folder / 'sums.json').write_text(json.dumps([float(one['img'].std()) for one in loader]))


def cached(folder: Path) -> dict[str, str]:
    """Return the loaded frames, and the files of the cache."""
    found = {'sums': (folder / 'sums.json').read_text()}
    for path in sorted((folder / 'cache').rglob('*')):
        if path.suffix == '.npz':
            with np.load(path) as stored:
                found[path.name] = hashlib.sha256(stored['frames'].tobytes()).hexdigest()
    return found


def broken_frames(folder: Path) -> list[str]:
    """Return the files of the cache that are not complete."""
    broken = []
    for path in (folder / 'cache').rglob('[!.]*.npz'):
        try:
            with np.load(io.BytesIO(path.read_bytes())) as stored:
                dict(stored)
        except Exception as error:
            broken.append(f'{path.name}: {error!r}')
    return broken


def convert(folder: Path) -> None:
    """Convert a tracking benchmark, in two workers."""
    target = folder / 'fe108'
    for source in sorted((folder.parent / 'fe108').rglob('*')):
        link = target / source.relative_to(folder.parent / 'fe108')
        if source.is_file() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
    tool = import_module('stack_events')
    sys.argv = ['stack_events.py', 'FE108', str(target), '--workers', '2']
    tool.main()


def converted(folder: Path) -> dict[str, str]:
    """Return all pictures."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('inter1_stack_3008/*'))
    }


def half_sequences(folder: Path) -> list[str]:
    """Return sequences with only some of their 30 pictures."""
    return [
        f'{path} has {len(list(path.iterdir()))} of 30 pictures'
        for path in folder.rglob('inter1_stack_3008')
        if len(list(path.iterdir())) != 30
    ]


def ablate(folder: Path) -> None:
    """Run a grid of two cells."""
    tiny = import_module('tiny_cell')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'tiny.py').write_text(tiny.CONFIG)
    grid = dict(
        base='tiny.py',
        metric='score',
        seeds=[0],
        overrides={'model.pause': 0.1},
        axes=dict(gain={'one': {}, 'two': {'model.inner.gain': 2.0}}),
    )
    (folder / 'grid.yaml').write_text(json.dumps(grid))
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT / 'tests'), str(ROOT)])
    code = import_module('ablate').main(
        [str(folder / 'grid.yaml'), '--work-dir', str(folder / 'work'), '--retries', '99']
    )
    if code:
        raise SystemExit(code)


def finals(folder: Path) -> dict[str, object]:
    """Return curve and last weights of every cell."""
    found = {}
    for path in sorted(folder.glob('work/*/state.json')):
        state = json.loads(path.read_text())
        found[f'{path.parent.name}.curve'] = json.dumps([state['status'], state['curve']])
        saved = load_checkpoint_file(path.parent / 'iter_12.pth', 'cpu')['state_dict']
        found.update({f'{path.parent.name}.{key}': value for key, value in saved.items()})
    return found


def runner_or_training(child: int, folder: Path, draw: Random) -> int:
    """Return the runner of the ablation, or a training that it started."""
    trainings = []
    for path in folder.glob('work/*/state.json'):
        with suppress(OSError, ValueError, KeyError):
            pid = json.loads(path.read_text())['pid']
            if str(folder) in Path(f'/proc/{pid}/cmdline').read_text():
                trainings.append(pid)
    return draw.choice(trainings) if trainings and draw.random() < 0.6 else child


def broken_cells(folder: Path) -> list[str]:
    """Return checkpoints that are not complete, and states that cannot be read."""
    broken = broken_checkpoints(folder)
    for path in folder.rglob('state.json'):
        try:
            json.loads(path.read_text())
        except ValueError as error:
            broken.append(f'{path}: {error}')
    return broken


TASKS = dict(
    train=Task(train, weights, broken_checkpoints),
    cache=Task(cache, cached, broken_frames, write_recordings),
    convert=Task(convert, converted, half_sequences, write_recordings),
    ablate=Task(ablate, finals, broken_cells, victim=runner_or_training),
)


def preload() -> None:
    """Import the modules of the tasks, once for all children."""
    for folder in ('tools', 'tools/dataset_converters'):
        sys.path.insert(0, str(ROOT / folder))
    for name in (
        'mmseg.models',
        'mmseg.evaluation',
        'mmseg.visualization',
        'mmbsa.models',
        'mmbsa.engine',
        'mmbsa.datasets.transforms',
        'mmbsa.visualization',
        'event_writers',
        'tiny_tracking',
        'tiny_cell',
        'stack_events',
        'ablate',
    ):
        import_module(name)
