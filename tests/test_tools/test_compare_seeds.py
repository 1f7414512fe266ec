"""tools/compare_seeds.py: runs once what is not finished, and its figures are those of the logs."""
import importlib.util
import json
import statistics
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('compare_seeds', ROOT / 'tools/compare_seeds.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def configs(tmp_path):
    for name in ('one', 'two'):
        (tmp_path / f'{name}.py').write_text("train_cfg = dict(type='IterBasedTrainLoop', max_iters=20, val_interval=10)")
    return [str(tmp_path / f'{name}.py') for name in ('one', 'two')]


def score(config, seed, step):
    return 10. * (1 + (config == 'two')) + seed + step / 10


@pytest.fixture
def runs(tool, monkeypatch):
    """Stand in for the trainings: write what mmengine's logger writes, and count."""
    calls = []

    def run(command, log, threads):
        script, config = Path(command[0]).name, Path(command[1]).stem
        seed = int(next(option for option in command if option.startswith('randomness.seed=')).split('=')[1])
        folder = Path(command[command.index('--work-dir') + 1])
        calls.append((script, config, seed))
        if script == 'test.py':
            (folder / 'x').mkdir(parents=True)
            (folder / 'x' / 'x.json').write_text(json.dumps(dict(mIoU=score(config, seed, 0), aAcc=1)))
            return
        data = folder / 'stamp' / 'vis_data'
        data.mkdir(parents=True)
        lines = [dict(loss=1., step=5), dict(mIoU=score(config, seed, 10), step=10),
                 dict(mIoU=score(config, seed, 20), step=20)]
        (data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n{"mIoU": 9')
        (folder / 'last_checkpoint').write_text('elsewhere/iter_20.pth')

    monkeypatch.setattr(tool, 'run', run)
    return calls


def test_table_json_and_picture(tool, runs, configs, tmp_path, capsys):
    work = tmp_path / 'work'
    assert tool.main([*configs, '--work-dir', str(work), '--seeds', '0', '1', '4', '--test', '--jobs', '2']) == 0
    assert sorted(runs) == sorted((script, config, seed) for script in ('train.py', 'test.py') for config in ('one', 'two')
                                  for seed in (0, 1, 4))
    summary = json.loads((work / 'summary.json').read_text())
    assert list(summary) == ['one', 'two'] and summary['two']['seeds'] == [0, 1, 4]
    assert summary['two']['final'] == dict(values=[22., 23., 26.], mean=pytest.approx(71 / 3),
                                           std=pytest.approx(statistics.stdev([22, 23, 26])))
    assert summary['one']['test']['values'] == [10., 11., 14.]
    table = (work / 'summary.md').read_text()
    assert '| two | 3 | 23.67 ± 2.08 | 22.00, 23.00, 26.00 | 21.67 ± 2.08 |' in table and table in capsys.readouterr().out
    assert cv2.imread(str(work / 'curves.png')).shape[1] > 300
    runs.clear()  # everything is finished: nothing runs again
    assert tool.main([*configs, '--work-dir', str(work), '--seeds', '0', '1', '4', '--test', '--only-collect']) == 0
    assert runs == []


def test_unfinished_runs_go_on(tool, runs, configs, tmp_path):
    data = tmp_path / 'work/one/seed_0/earlier/vis_data'
    data.mkdir(parents=True)
    (data / 'scalars.json').write_text(json.dumps(dict(mIoU=1., step=10)))
    assert tool.main([configs[0], '--work-dir', str(tmp_path / 'work'), '--seeds', '0']) == 0
    assert runs == [('train.py', 'one', 0)]
    summary = json.loads((tmp_path / 'work/summary.json').read_text())['one']
    assert summary['final'] == dict(values=[12.], mean=12., std=None)
    assert summary['curves'] == [{'10': 11., '20': 12.}]


def test_one_failure_does_not_stop_the_others(tool, configs, tmp_path, monkeypatch, capsys):
    (tmp_path / 'broken').mkdir()
    monkeypatch.setattr(tool, 'TOOLS', tmp_path / 'broken')  # no train.py there: the real subprocess fails
    assert tool.main([*configs, '--work-dir', str(tmp_path / 'work'), '--seeds', '0']) == 1
    errors = capsys.readouterr().err
    assert '2 of 2 runs failed' in errors and 'train.out' in errors
    assert not (tmp_path / 'work/summary.json').exists()


@pytest.mark.parametrize('args, word', [(['no.py'], 'no.py'), (['{0}', '{0}'], 'different'),
                                        (['{0}', '--jobs', '0'], '--jobs')])
def test_bad_arguments(tool, configs, args, word, capsys):
    with pytest.raises(SystemExit):
        tool.main([arg.format(*configs) for arg in args])
    assert word in capsys.readouterr().err


def test_options_reach_the_config(tool, configs):
    assert tool.load_config(configs[0], ['train_cfg.max_iters=7']).train_cfg.max_iters == 7
