"""Train several configs with several seeds, and compare them: a table, the figures as JSON, and the curves as a picture.

    python tools/compare_seeds.py configs/espikeformer_camvid.py configs/bsa_camvid.py --seeds 0 1 2 --jobs 2

Finished runs are not repeated and interrupted ones go on where they stopped, so the command may be killed and started
again. Everything lies under --work-dir: <config>/seed_<n>/ of every run, summary.json, summary.md and curves.png.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
from mmengine import Config, DictAction

from mmbsa.utils.files import atomic_open

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  (the backend is chosen first)

TOOLS = Path(__file__).resolve().parent


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/compare_seeds'))
    parser.add_argument('--metric', default='mIoU', help='as the evaluator calls it')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; they share the cores')
    parser.add_argument('--test', action='store_true', help='also evaluate the last checkpoints on the test split')
    parser.add_argument('--only-collect', action='store_true', help='train nothing; summarise what is there')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every run')
    args = parser.parse_args(argv)
    for path in args.configs:
        if not path.is_file():
            parser.error(f'config {path} does not exist')
    if len({path.stem for path in args.configs}) < len(args.configs):
        parser.error('the configs must have different file names: they name the folders of the runs')
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def load_config(path: Path, options: list[str]) -> Config:
    """Read a config with the command line's overrides."""
    cfg = Config.fromfile(path)
    if options:
        action = argparse.ArgumentParser()
        action.add_argument('--cfg-options', nargs='+', action=DictAction)
        cfg.merge_from_dict(action.parse_args(['--cfg-options', *options]).cfg_options)
    return cfg


def read_curve(folder: Path, metric: str) -> dict[int, float]:
    """Iteration -> metric of every validation that the logs of a run hold; resumed runs have several logs."""
    curve = {}
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # a killed process leaves half a line
                continue
            if metric in record and 'step' in record:
                curve[record['step']] = record[metric]
    return dict(sorted(curve.items()))


def last_checkpoint(folder: Path) -> Path:
    """Return the checkpoint that ``last_checkpoint`` points to, wherever the folder was moved since."""
    return folder / Path((folder / 'last_checkpoint').read_text().strip()).name


def run(command: list[str], log: Path, threads: int) -> None:
    """Run one of our tools, its output going to a file that an error names."""
    env = {'OMP_NUM_THREADS': str(threads), **os.environ, 'PYTHONPATH': os.pathsep.join(
        [str(TOOLS.parent), *filter(None, [os.environ.get('PYTHONPATH')])])}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w') as file:
        code = subprocess.run([sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, env=env).returncode
    if code:
        tail = '\n'.join(log.read_text(errors='replace').splitlines()[-5:])
        raise RuntimeError(f'{" ".join(command)} ended with {code}; its output is in {log}:\n{tail}')


def one_run(args: argparse.Namespace, config: Path, seed: int) -> dict:
    """Train (unless finished) and test (if asked) one config with one seed; returns its figures."""
    folder = args.work_dir / config.stem / f'seed_{seed}'
    max_iters = load_config(config, args.cfg_options).train_cfg.max_iters
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    options = ['--cfg-options', f'randomness.seed={seed}', *args.cfg_options]
    curve = read_curve(folder, args.metric)
    if max_iters not in curve:
        if args.only_collect:
            raise RuntimeError(f'{folder} holds no finished run (no {args.metric} at iteration {max_iters})')
        print(f'{config.stem}, seed {seed}: training', flush=True)
        run([str(TOOLS / 'train.py'), str(config), '--work-dir', str(folder), '--resume', *options],
            folder / 'train.out', threads)
        curve = read_curve(folder, args.metric)
        if max_iters not in curve:
            raise RuntimeError(f'{folder}: the run ended without a {args.metric} at its last iteration {max_iters}')
    result = dict(config=config.stem, seed=seed, curve=curve, final=curve[max_iters])
    if args.test:
        result['test'] = test_score(args, config, folder, options, threads)
    print(f'{config.stem}, seed {seed}: {args.metric} {result["final"]:.2f}'
          + (f', test {result["test"]:.2f}' if args.test else ''), flush=True)
    return result


def test_score(args: argparse.Namespace, config: Path, folder: Path, options: list[str], threads: int) -> float:
    """Evaluate the last checkpoint of a run on the test split, once."""
    kept = folder / 'test_split.json'
    if not kept.exists():
        out = folder / 'test'
        run([str(TOOLS / 'test.py'), str(config), str(last_checkpoint(folder)), '--work-dir', str(out), *options],
            folder / 'test.out', threads)
        newest = max(out.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
        with atomic_open(kept) as file:
            file.write(newest.read_bytes())
    return json.loads(kept.read_text())[args.metric]


def summarise(results: list[dict], metric: str) -> tuple[dict, str]:
    """Mean and sample standard deviation per config, as a dict and as a markdown table."""
    summary, keys = {}, ['final'] + ['test'] * all('test' in result for result in results)
    for name in dict.fromkeys(result['config'] for result in results):
        runs = [result for result in results if result['config'] == name]
        summary[name] = dict(seeds=[r['seed'] for r in runs], curves=[r['curve'] for r in runs])
        for key in keys:
            values = [r[key] for r in runs]
            summary[name][key] = dict(values=values, mean=statistics.fmean(values),
                                      std=statistics.stdev(values) if len(values) > 1 else None)
    names = dict(final=f'val {metric}', test=f'test {metric}')
    lines = ['| config | seeds | ' + ' | '.join(f'{names[k]}, mean ± std | each' for k in keys) + ' |',
             '|---|---|' + '---|---|' * len(keys)]
    for name, row in summary.items():
        cells = []
        for key in keys:
            spread = '' if row[key]['std'] is None else f' ± {row[key]["std"]:.2f}'
            cells += [f'{row[key]["mean"]:.2f}{spread}', ', '.join(f'{value:.2f}' for value in row[key]['values'])]
        lines.append(f'| {name} | {len(row["seeds"])} | ' + ' | '.join(cells) + ' |')
    return summary, '\n'.join(lines) + '\n'


def draw(summary: dict, metric: str, path: Path) -> None:
    """Draw every run as a thin line and every config's mean as a thick one."""
    fig, axis = plt.subplots(figsize=(6, 3.8), constrained_layout=True)
    for (name, row), colour in zip(summary.items(), plt.get_cmap('tab10').colors):
        for curve in row['curves']:
            axis.plot(list(curve), list(curve.values()), color=colour, alpha=0.35, linewidth=1)
        steps = sorted(set.intersection(*(set(curve) for curve in row['curves'])))
        mean = [statistics.fmean(curve[step] for curve in row['curves']) for step in steps]
        axis.plot(steps, mean, color=colour, linewidth=2, marker='o', markersize=3,
                  label=f'{name}: {row["final"]["mean"]:.1f}')
    axis.set_xlabel('iteration')
    axis.set_ylabel(f'validation {metric}')
    axis.grid(alpha=0.3)
    axis.legend(loc='lower right')
    with atomic_open(path) as file:
        fig.savefig(file, format='png', dpi=110)
    plt.close(fig)


def main(argv=None) -> int:
    args = parse_args(argv)
    jobs, results = [(config, seed) for seed in args.seeds for config in args.configs], {}
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = {job: pool.submit(one_run, args, *job) for job in jobs}
        for job, future in waiting.items():
            try:
                results[job] = future.result()
            except RuntimeError as error:  # the other runs go on
                print(f'failed: {error}', file=sys.stderr, flush=True)
    if len(results) < len(jobs):
        print(f'{len(jobs) - len(results)} of {len(jobs)} runs failed; the same command tries them again',
              file=sys.stderr)
        return 1
    ordered = [results[config, seed] for config in args.configs for seed in args.seeds]
    summary, table = summarise(ordered, args.metric)
    with atomic_open(args.work_dir / 'summary.json') as file:
        file.write(json.dumps(summary, indent=1).encode())
    with atomic_open(args.work_dir / 'summary.md') as file:
        file.write(table.encode())
    draw(summary, args.metric, args.work_dir / 'curves.png')
    print(table, end='')
    return 0


if __name__ == '__main__':
    sys.exit(main())
