"""Kill a small training at random moments, resume it, and compare it with one that nobody killed.

    python tools/dev/campaign_kills.py --kills 200 --seconds 3600
    python tools/dev/campaign_kills.py --disk-full 20

A run of a tiny segmenter on drawn scenes, with validations, best checkpoints and data workers, is
killed with SIGKILL and resumed until it is through, again and again. After each kill every
checkpoint must be whole and no process may be left; each run that is through must have the weights
of the undisturbed one, to the bit. With ``--disk-full`` writes of files beyond a random size fail
instead: the run must end by itself, name a file, and leave every checkpoint whole.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parent))
from forked import fork, kill, limit, survivors, wait  # noqa: E402

from mmbsa.utils.checkpoint import is_whole, load_checkpoint_file  # noqa: E402
from mmbsa.utils.launch import run  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ITERS = 8
LIMIT = 60  # seconds in which a run that cannot go on must end


def config(work_dir: Path, workers: int = 1) -> Config:
    """The quickstart, small: 8 iterations of 2 scenes, a checkpoint every 2 and a validation every
    4 iterations."""
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


def train(work_dir: Path, workers: int = 1, file_size: int | None = None) -> None:
    """Train, or go on, in this process."""
    torch.set_num_threads(1)
    if file_size is not None:
        limit(file_size=file_size)
    run(config(work_dir, workers), 'train')


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    """Weights, moving averages and the optimizer's tensors at the end of a run, by name."""
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


def faults_of(work_dir: Path) -> list[str]:
    """What is wrong in a work dir whose run was stopped."""
    return [f'{path.name} is not whole' for path in work_dir.glob('*.pth') if not is_whole(path)]


def kills(
    folder: Path, number: int, seconds: float, seed: int = 0, workers: int = 1
) -> tuple[Counter, list[str]]:
    """Kill and resume; return how often what happened, and what went wrong."""
    draw, counts, faults = random.Random(seed), Counter(), []
    begin = time.monotonic()
    if wait(fork(train, folder / 'whole', workers, log=folder / 'whole.log'), 600) != 0:
        return counts, ['the undisturbed run fails:\n' + (folder / 'whole.log').read_text()[-2000:]]
    took, expected, round_ = time.monotonic() - begin, weights(folder / 'whole'), 0
    while counts['kills'] < number and time.monotonic() - begin < seconds and not faults:
        work_dir, log = folder / f'run_{round_}', folder / f'run_{round_}.log'
        round_ += 1
        code = None
        while code is None and not faults:
            child = fork(train, work_dir, workers, log=log)
            # the last part of a run that is resumed often is short, so it is let through now and
            # then
            code = wait(
                child,
                draw.uniform(0, took)
                if counts['kills'] < number and draw.random() < 0.8
                else 10 * LIMIT,
            )
            if code is None:
                kill(child)
                counts['kills'] += 1
                counts['processes left'] += len(left := survivors(child))
                faults += [f'process {pid} outlives a killed run' for pid in left] + faults_of(
                    work_dir
                )
        counts['runs through'] += 1
        if code:
            faults.append(f'run {round_} ends with {code}:\n' + log.read_text()[-2000:])
        elif not faults:
            found = weights(work_dir)
            wrong = [
                key
                for key in expected
                if not torch.equal(expected[key], found.get(key, torch.empty(0)))
            ]
            counts['runs equal'] += not wrong
            faults += [f'run {round_}: {len(wrong)} of {len(expected)} tensors differ'] * bool(
                wrong
            )
            faults += [f'run {round_} leaves {path.name}' for path in work_dir.glob('.*')]
        shutil.rmtree(work_dir, ignore_errors=True)
    return counts, faults


def full_disks(folder: Path, number: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Let files beyond a random size fail to be written; return how often what happened, and what
    went wrong."""
    draw, counts, faults = random.Random(seed), Counter(), []
    if wait(fork(train, folder / 'whole', 0, log=folder / 'whole.log'), 600) != 0:
        return counts, ['the undisturbed run fails:\n' + (folder / 'whole.log').read_text()[-2000:]]
    largest = max(path.stat().st_size for path in (folder / 'whole').glob('iter_*.pth'))
    for index in range(number):
        work_dir, log = folder / f'disk_{index}', folder / f'disk_{index}.log'
        if draw.random() < 0.5:  # a run that has checkpoints already
            shutil.copytree(folder / 'whole', work_dir)
            (work_dir / f'iter_{ITERS}.pth').unlink()
        before = {path: path.stat().st_size for path in work_dir.glob('iter_*.pth')}
        child = fork(train, work_dir, 0, draw.randrange(1000, largest), log=log)
        code = wait(child, LIMIT)
        if code is None:
            kill(child)
            faults.append(f'case {index} hangs:\n' + log.read_text()[-2000:])
            continue
        text = log.read_text()
        counts['ended'] += 1
        counts['named a file'] += (named := 'File too large' in text and str(work_dir) in text)
        faults += [f'case {index} ends with {code} and no word about the disk:\n{text[-2000:]}'] * (
            code == 0 or not named
        )
        faults += [f'case {index}: {fault}' for fault in faults_of(work_dir)]
        faults += [f'case {index}: {path.name} is gone' for path in before if not path.exists()]
        faults += [f'case {index} leaves {path.name}' for path in work_dir.glob('.*.tmp')]
        shutil.rmtree(work_dir, ignore_errors=True)
    return counts, faults


def preload() -> None:
    """Import what a run needs, once for all children."""
    for name in (
        'mmseg.models',
        'mmseg.evaluation',
        'mmseg.visualization',
        'mmbsa.models',
        'mmbsa.engine',
        'mmbsa.datasets.transforms',
        'mmbsa.visualization',
    ):
        import_module(name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=0)
    parser.add_argument(
        '--seconds', type=float, default=3600, help='end after the run that is under way by then'
    )
    parser.add_argument('--disk-full', type=int, default=0, metavar='CASES')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    preload()
    failed = False
    for part, start in (
        (args.kills, lambda folder: kills(folder, args.kills, args.seconds, args.seed)),
        (args.disk_full, lambda folder: full_disks(folder, args.disk_full, args.seed)),
    ):
        if not part:
            continue
        with tempfile.TemporaryDirectory() as folder:
            counts, faults = start(Path(folder))
        print(', '.join(f'{what}: {number}' for what, number in counts.items()))
        for fault in faults:
            print(fault)
        failed |= bool(faults)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
