"""Train a grid of configs with several seeds, and write a table, plots and one HTML page.

    # a grid
    python tools/ablate.py configs/ablations/bsa_table4.yaml --budget small --jobs 2
    # a comparison of a few configs
    python tools/ablate.py configs/a.py configs/b.py --seeds 0 1 2
    # print sbatch commands
    python tools/ablate.py GRID.yaml --launcher slurm --partition gpu --gpus 4

The command may be killed at any time and started again: it skips finished trainings and resumes
interrupted ones from their last checkpoints. All results are in --work-dir: a folder per cell, and
table.md, results.csv, results.json, curves.png, bars.png, costs.png, report.html.
"""

import argparse
import shlex
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmbsa.apis.ablation import (
    CellFolder,
    GridError,
    LocalRunner,
    evaluate_test_split,
    expand,
    grid_of_configs,
    metric_of,
    read_grid,
    select,
)

TOOLS = Path(__file__).resolve().parent


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'grid', nargs='+', type=Path, help='one GRID.yaml, or config files to compare'
    )
    parser.add_argument(
        '--budget', default='full', help="budget of the grid, e.g. small; default 'full'"
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        help='seeds; default: those of the grid, or 0 1 2 for configs',
    )
    parser.add_argument(
        '--metric',
        help="name of the metric in the evaluator's output; default: the grid's, or save_best",
    )
    parser.add_argument('--work-dir', type=Path, help='default work_dirs/ablations/<grid>-<budget>')
    parser.add_argument(
        '--jobs', type=int, default=1, help='trainings at a time; they share cores and GPUs'
    )
    parser.add_argument('--gpus', type=int, default=1, help='GPUs per training; default 1')
    parser.add_argument(
        '--retries', type=int, default=1, help='restarts of a training that a signal ended'
    )
    parser.add_argument(
        '--only',
        nargs='+',
        action='extend',
        default=[],
        metavar='AXIS=VALUE[,VALUE]',
        help='train only these cells (the seed is an axis too: seed=0); the table shows all',
    )
    parser.add_argument(
        '--test', action='store_true', help='also evaluate the last checkpoints on the test split'
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='resolve all configs, show the cells, and stop'
    )
    parser.add_argument(
        '--status', action='store_true', help='show the progress of every cell, and stop'
    )
    parser.add_argument(
        '--only-collect', action='store_true', help='train nothing; report the existing results'
    )
    parser.add_argument('--launcher', choices=['none', 'slurm'], default='none')
    parser.add_argument('--partition', help='partition of the Slurm cluster')
    parser.add_argument(
        '--sbatch-args', default='', help='further arguments of sbatch, as one text'
    )
    parser.add_argument(
        '--submit', action='store_true', help='submit the Slurm jobs instead of printing them'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='override config entries of all cells, key=value',
    )
    args = parser.parse_args(argv)
    for name in ('jobs', 'gpus'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    if args.launcher == 'slurm' and not args.partition:
        parser.error('--launcher slurm needs --partition')
    args.again = shlex.join(
        ['python', 'tools/ablate.py', *(sys.argv[1:] if argv is None else argv)]
    )
    return args


def load_grid(args: argparse.Namespace):
    """Read the grid file, or return a grid of the config files."""
    if [path.suffix for path in args.grid] in (['.yaml'], ['.yml']):
        grid = read_grid(args.grid[0], args.budget)
        grid.seeds = args.seeds or grid.seeds
    elif all(path.suffix == '.py' for path in args.grid):
        grid = grid_of_configs(args.grid, args.seeds or [0, 1, 2])
    else:
        raise GridError(
            f'expected one GRID.yaml or config files (.py), got {" ".join(map(str, args.grid))}'
        )
    grid.metric = args.metric or grid.metric
    return grid


def show(folders: list[CellFolder]) -> None:
    """Print the progress of every cell."""
    width = max(len(folder.cell.name) for folder in folders)
    for folder in folders:
        state, status = folder.read(), folder.status()
        told = (
            f'{folder.metric} {state["final"]:.2f}'
            if status == 'done'
            else state.get('reason', '')
            if status == 'failed'
            else f'step {folder.progress()} of {folder.cell.last_step}'
        )
        print(f'{folder.cell.name:{width}}  {status:11}  {told}')
    counts = [folder.status() for folder in folders]
    print(', '.join(f'{counts.count(name)} {name}' for name in dict.fromkeys(counts)))


def with_slurm(args: argparse.Namespace, folders: list[CellFolder]) -> int:
    """Print or submit a job for every cell that is neither done nor queued."""
    from mmbsa.apis.ablation.slurm import is_queued, sbatch_command, submit

    for folder in folders:
        if folder.is_done() or is_queued(folder):
            continue
        command = sbatch_command(folder, TOOLS, args.partition, args.gpus, extra=args.sbatch_args)
        print(
            f'{folder.cell.name}: job {submit(folder, command)}'
            if args.submit
            else shlex.join(command),
            flush=True,
        )
    return 0


def report(
    args: argparse.Namespace, grid, folders: list[CellFolder], metric: str, out: Path
) -> None:
    """Evaluate test splits if requested, write the report, and print the table."""
    from mmbsa.apis.ablation.report import write_report

    if args.test:
        for folder in folders:
            if folder.is_done():
                evaluate_test_split(folder, TOOLS)
    failed = {f.cell.name: f.read().get('tail', '') for f in folders if f.status() == 'failed'}
    write_report(grid, folders, metric, out, failed, args.again)
    print((out / 'table.md').read_text(), end='')
    print(f'{out / "report.html"} contains all results on one page')


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        grid = load_grid(args)
        cells = expand(grid, args.cfg_options)
        metric = metric_of(grid, cells)
        out = args.work_dir or Path('work_dirs/ablations') / grid.name
        folders = [CellFolder(out, cell, metric) for cell in cells]
        chosen = {cell.key for cell in select(cells, args.only, grid.axes)}
        wanted = [folder for folder in folders if folder.cell.key in chosen]
        if args.dry_run:
            for folder in wanted:
                values = {**folder.cell.values, 'seed': folder.cell.seed}
                print(folder.path, *(f'{axis}={name}' for axis, name in values.items()))
            print(f'{len(wanted)} cells, compared by {metric}')
            return 0
        if args.status:
            show(wanted)
            return 0
        if args.launcher == 'slurm':
            return with_slurm(args, wanted)
        failed = []
        if not args.only_collect:

            def say(text: str) -> None:
                print(text, flush=True)

            failed = LocalRunner(TOOLS, args.jobs, args.gpus, args.retries, say).run(wanted)
        report(args, grid, folders, metric, out)
    except GridError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted; run the same command again to continue', file=sys.stderr)
        return 130
    if failed:
        print(
            f'{len(failed)} of {len(wanted)} trainings failed; run the same command to retry them',
            file=sys.stderr,
        )
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
