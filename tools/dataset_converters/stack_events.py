"""Convert recordings of a tracking benchmark to event frames.

    stack_events.py FE108 data/fe108 --split train --steps 1

Every sequence is written completely or not at all, and existing ones are skipped, so the tool can
be started again after an interruption. A sequence that cannot be converted does not stop the
others; the tool lists these sequences at the end.

If a sequence has a folder img/, it gets at most as many frames as this folder has files. FE108:
ROOT/pair.txt gives the number of camera frames to skip; --skip is for sequences that it does not
list.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mmengine.utils import ProgressBar

from mmbsa.datasets.tracking.layouts import split_folder
from mmbsa.datasets.tracking.stacking import stack_sequence, start_frames
from mmbsa.events.array import TIME_UNITS
from mmbsa.events.formats.source import REPAIR_HELP, check_repair
from mmbsa.utils.processes import end_with_parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('layout', choices=['FE108', 'VisEvent', 'FELT'])
    parser.add_argument('root', help='folder with train/ and test/')
    parser.add_argument('--split', default='train')
    parser.add_argument('--steps', type=int, default=1, help='sub-frames per frame, T; default 1')
    parser.add_argument(
        '--skip',
        type=int,
        metavar='N',
        help='FE108: camera frames to skip in sequences that pair.txt does not list',
    )
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument(
        '--official-quirks',
        action='store_true',
        help='assign events to windows as the official script does, with its mistakes',
    )
    parser.add_argument(
        '--sensor-size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='height and width, for recordings that do not state them',
    )
    parser.add_argument('--repair', nargs='+', default=(), metavar='NAME', help=REPAIR_HELP)
    parser.add_argument(
        '--time-unit',
        choices=list(TIME_UNITS),
        help='unit of the times in .npz, .npy and .mat recordings; default: us',
    )
    return parser.parse_args()


def convert(args: argparse.Namespace) -> list[str]:
    """Convert all sequences of a split, and return one message per sequence that failed."""
    if args.steps < 1:
        raise ValueError(f'--steps must be at least 1, got {args.steps}')
    if args.skip is not None and (args.skip < 0 or args.layout != 'FE108'):
        raise ValueError(f'--skip must be 0 or more, and is for FE108 only, got {args.skip}')
    check_repair(args.repair)
    if args.sensor_size is not None and min(args.sensor_size) < 1:
        raise ValueError(f'--sensor-size must be two positive numbers, got {args.sensor_size}')
    folder = split_folder(args.layout, args.root, args.split)
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and entry.name[0] != '.' and entry.name != '__MACOSX'
    )
    if not names:
        raise FileNotFoundError(f'{folder}: there are no folders of sequences')
    skipped, pairs = dict.fromkeys(names, args.skip or 0), Path(args.root, 'pair.txt')
    if args.layout == 'FE108' and pairs.is_file():
        skipped = dict.fromkeys(names, args.skip) | start_frames(args.root)
    elif args.layout == 'FE108' and args.skip is None:
        print(f'{pairs} does not exist: no camera frames are skipped; --skip sets their number')
    stack = f'inter{args.steps}_stack_3008'
    unknown = [
        name
        for name in names
        if skipped[name] is None and not any(Path(folder, name, stack).glob('*'))
    ]
    failed = [
        f'{Path(folder, name)}: {pairs} does not list it, so the number of camera frames to skip '
        'is unknown; set --skip (0: none)'
        for name in unknown
    ]
    names = [name for name in names if name not in unknown]
    bar, written, done = ProgressBar(len(names)), 0, 0
    with ProcessPoolExecutor(max(args.workers, 1), initializer=end_with_parent) as pool:
        jobs = {
            pool.submit(
                stack_sequence,
                Path(folder, name),
                args.layout,
                args.steps,
                skipped[name] or 0,
                args.official_quirks,
                sensor_size=args.sensor_size,
                repair=args.repair,
                time_unit=args.time_unit,
            ): name
            for name in names
        }
        for job in as_completed(jobs):
            try:
                pictures = job.result()
                written, done = written + pictures, done + (not pictures)
            except (OSError, ValueError, ModuleNotFoundError) as error:
                failed.append(str(error))
            except BrokenProcessPool:
                raise SystemExit(
                    f'\nerror: a worker process was killed (out of memory?) at {jobs[job]} or '
                    'near it. Finished sequences are kept: start again, with fewer --workers'
                ) from None
            bar.update()
    made = len(names) + len(unknown) - len(failed) - done
    kept = f'; {done} had frames already, which were not changed' if done else ''
    print(f'\n{written} pictures of {made} sequences{kept}')
    return sorted(failed)


def main() -> None:
    args = parse_args()
    try:
        failed = convert(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    if failed:
        raise SystemExit(f'error: not converted ({len(failed)} sequences):\n' + '\n'.join(failed))


if __name__ == '__main__':
    main()
