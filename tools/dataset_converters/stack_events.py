"""Convert recordings of a tracking benchmark to event frames.

    stack_events.py FE108 data/fe108 --split train --steps 1

Every sequence is written completely or not at all, and existing ones are skipped, so the tool can
be started again after an interruption.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mmengine.utils import ProgressBar

from mmbsa.datasets.tracking.layouts import get_layout, split_folder
from mmbsa.datasets.tracking.stacking import stack_sequence, start_frames
from mmbsa.utils.processes import end_with_parent


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert recordings of a tracking benchmark to event frames'
    )
    parser.add_argument('layout', choices=['FE108', 'VisEvent', 'FELT'])
    parser.add_argument('root', help='folder with train/ and test/')
    parser.add_argument('--split', default='train')
    parser.add_argument('--steps', type=int, default=1, help='sub-frames per frame, T; default 1')
    parser.add_argument('--workers', type=int, default=os.cpu_count())
    parser.add_argument(
        '--official-quirks',
        action='store_true',
        help='assign events to windows as the official script does, with its mistakes',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    get_layout(args.layout)
    folder = split_folder(args.layout, args.root, args.split)
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and entry.name[0] != '.' and entry.name != '__MACOSX'
    )
    starts = start_frames(args.root)
    bar, failed, written = ProgressBar(len(names)), [], 0
    with ProcessPoolExecutor(max(args.workers, 1), initializer=end_with_parent) as pool:
        jobs = {
            pool.submit(
                stack_sequence,
                Path(folder, name),
                args.layout,
                args.steps,
                starts.get(name, 0),
                args.official_quirks,
            ): name
            for name in names
        }
        for job in as_completed(jobs):
            try:
                written += job.result()
            except (OSError, ValueError, ModuleNotFoundError) as error:
                failed.append(str(error))
            except BrokenProcessPool:
                raise SystemExit(
                    f'\nerror: a worker process was killed (out of memory?) at {jobs[job]} or '
                    'near it. Finished sequences are kept: start again, with fewer --workers'
                ) from None
            bar.update()
    print(f'\n{written} pictures of {len(names) - len(failed)} sequences')
    if failed:
        raise SystemExit('error: ' + '\n'.join(failed[:10]))


if __name__ == '__main__':
    main()
