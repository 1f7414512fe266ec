"""The runner in real processes: what is killed goes on, what is done is skipped, what fails is
told."""

import csv
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
import tiny_cell
import yaml
from mmengine.config import Config

from mmbsa.apis.ablation import CellFolder, LocalRunner, expand, read_grid
from mmbsa.apis.ablation.report import write_report
from mmbsa.apis.ablation.table import Row, differences, rounded

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / 'tools' / 'ablate.py'


@pytest.fixture
def grid(tmp_path):
    """Write a grid file with axes and seeds, and return its path."""
    (tmp_path / 'tiny.py').write_text(tiny_cell.CONFIG)

    def write(**content) -> Path:
        path = tmp_path / 'grid.yaml'
        path.write_text(
            yaml.safe_dump(dict(base='tiny.py', metric='score', **content), sort_keys=False)
        )
        return path

    return write


def start(*args, work: Path) -> subprocess.Popen:
    env = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(ROOT / 'tests'), str(ROOT)]),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    return subprocess.Popen(
        [sys.executable, str(TOOL), *map(str, args), '--work-dir', str(work)],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def ablate(*args, work: Path, expect: int = 0) -> str:
    process = start(*args, work=work)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == expect, output
    return output


def wait_for(condition, what: str, seconds: float = 300):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f'{what}: not within {seconds} s'
        time.sleep(0.02)
    return found


def test_grid_with_a_failing_cell(grid, tmp_path):
    work = tmp_path / 'work'
    path = grid(
        seeds=[0, 1],
        axes=dict(
            gain={'one': {}, 'two': {'model.inner.gain': 2.0}, 'broken': {'model.fail_at': 3}}
        ),
        exclude=[],
        published=dict(source='a paper', values=[dict(gain='one', value=50)]),
    )
    assert (
        '6 cells, compared by score' in ablate(path, '--dry-run', work=work) and not work.exists()
    )
    output = ablate(path, '--only', 'gain=broken', 'seed=1', work=work, expect=1)
    assert 'this cell was told to break' in output and '1 of 1 trainings failed' in output
    assert 'ended with 1; the end of' in output
    ablate(path, '--only', 'gain=one', '--jobs', '2', work=work)
    status = ablate(path, '--status', work=work)
    assert re.search(r'one_seed0_\w+ +done +score 9', status)
    assert re.search(r'broken_seed1_\w+ +failed +ended with 1', status)
    assert '2 done, 3 waiting, 1 failed' in status

    one = [json.loads(p.read_text()) for p in sorted(work.glob('one_*/state.json'))]
    output = ablate(path, '--only', 'gain=one', work=work)
    assert 'one_seed0' not in output, 'what is done is neither trained nor told again'
    assert one == [json.loads(p.read_text()) for p in sorted(work.glob('one_*/state.json'))]
    assert [state['attempts'] for state in one] == [1, 1] and list(one[0]['curve']) == ['6', '12']

    rows = list(csv.DictReader(open(work / 'results.csv')))
    finals = [state['final'] for state in one]
    assert [float(r['score']) for r in rows if r['gain'] == 'one'] == pytest.approx(
        [
            *finals,
            statistics.fmean(finals),
            statistics.stdev(finals),
            12.7062 * statistics.stdev(finals) / 2**0.5,
        ]
    )
    table = (work / 'table.md').read_text()
    mean, std = statistics.fmean(finals), statistics.stdev(finals)
    assert (
        re.search(
            rf'\| one \| {rounded(mean)} ± {rounded(std, mean)} \| [0-9.-]+ to [0-9.]+ \| 2 \|',
            table,
        )
        and '| 50 |' in table
        and 'Published: a paper.' in table
    )
    assert '| two | - | - | 0 of 2 |' in table and '| broken | - | - | 0 of 2 |' in table
    assert (
        all(0 < state['core_seconds'] < 60 and state['seconds'] > 0 for state in one)
        and '| core seconds |' in table
    )
    assert '0.000 M' in table, 'the parameters of a model without neurons'
    page = (work / 'report.html').read_text()
    assert 'told to break' in page and page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(?!data:)|@import|url\(|<script', page), (
        'a page that needs no other file'
    )


def test_killed_at_every_level(grid, tmp_path):
    """SIGINT to the runner, SIGKILL to the training, SIGKILL to the runner: one training, never
    begun again."""
    work = tmp_path / 'work'
    path = grid(
        seeds=[7],
        overrides={'train_cfg.max_iters': 60, 'train_cfg.val_interval': 60, 'model.pause': 0.1},
        axes=dict(width={'4': {}}),
    )
    folder = CellFolder(work, expand(read_grid(path))[0], 'score')

    def behind(step):
        return lambda: (folder.path / 'last_checkpoint').exists() and folder.progress() >= step

    runner = start(path, work=work)
    wait_for(behind(5), 'first checkpoints')
    assert folder.status() == 'running'
    first = folder.read()['pid']
    runner.send_signal(signal.SIGINT)
    output, _ = runner.communicate(timeout=300)
    assert runner.returncode == 130 and 'run the same command again' in output
    assert folder.status() == 'interrupted' and not alive(first)

    runner, step = start(path, work=work), folder.progress()
    wait_for(lambda: folder.read()['pid'] != first and behind(step + 5)(), 'progress of the second')
    second, step = folder.read()['pid'], folder.progress()
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: folder.read()['pid'] != second and behind(step + 4)(), 'progress of the third')
    third = folder.read()['pid']
    runner.kill()
    output, _ = runner.communicate(timeout=300)
    assert 'ended by SIGKILL; it continues from its last checkpoint' in output
    assert alive(third) and folder.status() == 'running', (
        'a training outlives its runner, and keeps its lock'
    )

    ablate(path, work=work)
    state = folder.read()
    assert state['status'] == 'done' and state['attempts'] == 3 and state['pid'] == third
    steps = [
        [json.loads(line)['step'] for line in log.read_text().splitlines() if '"loss"' in line]
        for log in sorted(folder.path.glob('*/vis_data/scalars.json'))
    ]
    assert len(steps) == 3 and steps[2][-1] == 60
    assert all(3 < later[0] <= before[-1] + 1 for before, later in zip(steps, steps[1:])), (
        'each goes on where one stopped'
    )


def alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_wrong_metric_and_bad_commands(grid, tmp_path):
    path = grid(seeds=[0], axes=dict(width={'4': {}}), overrides={'train_cfg.max_iters': 2})
    output = ablate(path, '--metric', 'accuracy', work=tmp_path / 'work', expect=1)
    assert 'ended without a accuracy at its last step 2: its validations have ' in output
    path = grid(seeds=[0], axes=dict(width={'4': {'model.wdith': 4}}))
    assert 'error:' in ablate(path, work=tmp_path / 'other', expect=2)
    assert not (tmp_path / 'other').exists()
    assert 'expected one GRID.yaml or config files' in ablate(
        'x.txt', work=tmp_path / 'other', expect=2
    )


def fake_results(grid, work, curves: dict) -> list[CellFolder]:
    """Put down what mmengine's logger and the firing rate hook write."""
    folders = [CellFolder(work, cell, 'score') for cell in expand(grid)]
    for folder in folders:
        curve = curves.get((*folder.cell.values.values(), folder.cell.seed))
        if curve is None:
            continue
        data = folder.path / '20260101' / 'vis_data'
        data.mkdir(parents=True)
        lines = [
            dict(loss=1.0, step=1),
            *(dict(score=value, step=step) for step, value in curve.items()),
        ]
        (data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n{"score": 1')
        (folder.path / 'firing_rates.json').write_text(
            json.dumps(
                dict(
                    firing_rate=curve[12] / 1000,
                    parameters=1234567,
                    layers={'a.out': 0.25, 'b.out': 0.5, 'b.q': 1.0},
                )
            )
        )
    return folders


def test_statistics_and_pictures(grid, tmp_path):
    import cv2
    import numpy as np

    path = grid(
        seeds=[0, 1, 2],
        title='A <title>',
        reference=dict(gain='a'),
        rates={'outputs': '.out', 'nothing': 'none'},
        axes=dict(
            width={'4': {}, '8': {'model.width': 8}}, gain={'a': {}, 'b': {'model.inner.gain': 2.0}}
        ),
        published=dict(
            source='somebody', metric='theirs', values=[dict(width=4, gain='b', value=3.5)]
        ),
    )
    rng = np.random.default_rng(0)
    curves = {
        (w, g, s): {6: rng.normal(40, 5), 12: rng.normal(60, 5)}
        for w in '48'
        for g in 'ab'
        for s in (0, 1, 2)
    }
    del curves['8', 'b', 1], curves['8', 'b', 2]
    loaded = read_grid(path)
    folders = fake_results(loaded, tmp_path / 'work', curves)
    rows = write_report(loaded, folders, 'score', tmp_path / 'out')
    for row in rows:
        runs = np.array(
            [
                [curve[6], curve[12]]
                for key, curve in curves.items()
                if key[:2] == tuple(row.values.values())
            ]
        )
        assert row.mean() == pytest.approx(runs[:, 1].mean()) and len(row.runs) == len(runs)
        assert row.mean('firing_rate') == pytest.approx(runs[:, 1].mean() / 1000)
        if len(runs) > 1:
            assert row.std() == pytest.approx(runs[:, 1].std(ddof=1))
            assert row.curve() == [
                (step, pytest.approx(runs[:, i].mean()), pytest.approx(runs[:, i].std(ddof=1)))
                for i, step in enumerate((6, 12))
            ]
        else:
            assert row.std() is None and row.curve()[1] == (12, pytest.approx(runs[0, 1]), 0.0)
    table = (tmp_path / 'out/table.md').read_text()
    assert '| firing rate, outputs |' in table and '| 37.5 % |' in table and 'nothing' not in table
    assert '| 1.235 M |' in table and '| published: theirs |' in table and '| 3.5 |' in table
    means = [np.mean([curves[w, g, s][12] for s in range(3)]) for w, g in ('4a', '4b', '8a')]
    halves = [
        4.302653 * np.std([curves[w, g, s][12] for s in range(3)], ddof=1) / 3**0.5
        for w, g in ('4a', '4b', '8a')
    ]
    assert [row.interval() for row in rows] == [*map(pytest.approx, halves), None]
    assert f'| {means[0] - halves[0]:.2f} to {means[0] + halves[0]:.2f} |' in table
    each = [curves['4', 'b', s][12] - curves['4', 'a', s][12] for s in range(3)]
    t = abs(np.mean(each)) / np.std(each, ddof=1) * 3**0.5
    found = rows[1].difference(rows[0])
    assert found.mean == pytest.approx(np.mean(each)) and found.seeds == 3
    assert found.half == pytest.approx(4.302653 * np.std(each, ddof=1) / 3**0.5)
    assert found.p == pytest.approx(1 - t / (2 + t * t) ** 0.5)  # two degrees of freedom
    assert differences(loaded, rows) == [None, found, None, None]  # one common seed is not enough
    assert '| difference to the reference (gain = a) |' in table
    assert f'| {found.mean:+.2f} ± {found.half:.2f} (p = {found.p:.2g}) |' in table
    for name in ('curves.png', 'bars.png', 'costs.png'):
        picture = cv2.imread(str(tmp_path / 'out' / name))
        assert picture.shape[1] > 400 and picture.std() > 5
    assert 'A &lt;title&gt;' in (tmp_path / 'out/report.html').read_text()
    again = json.loads((tmp_path / 'out/results.json').read_text())
    assert [entry['mean'] for entry in again] == [row.mean() for row in rows]
    assert again[1]['difference']['p'] == found.p and again[0]['difference'] is None


def test_statistics_of_equal_and_of_broken_results():
    def row(*finals):
        runs = [dict(seed=seed, final=value, curve={1: value}) for seed, value in enumerate(finals)]
        return Row({}, len(runs), runs)

    equal = row(30.1, 32.1).difference(row(30.0, 32.0))  # of rounded metrics
    assert equal.mean == pytest.approx(0.1) and equal.p is None and equal.half < 1e-9
    same = row(30.1, 32.1).difference(row(30.1, 32.1))
    assert (same.mean, same.half, same.p) == (0, 0, None)
    broken = row(float('nan'), 30.0)
    assert all(map(math.isnan, (broken.std(), broken.interval(), broken.curve()[0][2])))
    assert math.isnan(broken.difference(row(29.0, 31.0)).mean)


def test_config_file_holds_the_cell(grid, tmp_path):
    path = grid(seeds=[4], axes=dict(width={'8': {'model.width': 8}}))
    folder = CellFolder(tmp_path / 'work', expand(read_grid(path))[0], 'score')
    written = Config.fromfile(folder.write_config())
    assert written.model.width == 8 and written.randomness.seed == 4 and written.sizes == (1, 2)
    assert written.default_hooks.firing_rate == dict(type='mmbsa.FiringRateHook')
    assert folder.write_config().read_text() == (folder.path / 'config.py').read_text()


def test_gpus_and_cores_are_shared(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,5,6')
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    runner = LocalRunner(ROOT / 'tools', jobs=2, gpus=2)
    assert [runner.environment(slot)['CUDA_VISIBLE_DEVICES'] for slot in (0, 1)] == ['4,5', '6,4']
    assert int(runner.environment(0)['OMP_NUM_THREADS']) == max(
        1, len(os.sched_getaffinity(0)) // 4
    )
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert runner.environment(0)['CUDA_VISIBLE_DEVICES'] == ''


def test_a_training_at_its_end_is_waited_for(grid, tmp_path):
    """Its runner was killed, and its last validation is on the disk, but not all that follows."""
    cells = expand(read_grid(grid(seeds=[0], axes=dict(width={'4': {}}))), {})
    folder = CellFolder(tmp_path / 'work', cells[0], 'score')
    waiting, runner = deque([folder]), LocalRunner(tmp_path)
    with folder.lock():
        folder.note(status='done', metric='score')
        assert not runner._start(waiting, 1) and list(waiting) == [folder]
    assert runner._start(waiting, 1) and not waiting and not runner.running


def test_fractions_have_four_decimals():
    assert rounded(71.236) == '71.24' and rounded(0.77125) == '0.7712' and rounded(0) == '0.0000'
    assert rounded(0.512, 70.1) == '0.51', 'a standard deviation has the decimals of its mean'
