"""tools/analysis_tools: browse_dataset, print_config, benchmark."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_run
import tiny_tools
import torch
from mmengine.config import Config

pytestmark = pytest.mark.seg
FOLDER = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools'


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f'{name}_tool', FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def browse(monkeypatch, config, out, *args):
    tool = load('browse_dataset', monkeypatch)
    assert tool.main([str(config), '--out', str(out), *args]) == 0
    return sorted(path.name for path in out.iterdir())


def test_browse_shows_labels_and_repeats(tmp_path, monkeypatch, capsys):
    config, pictures = tiny_run.write_config(tmp_path), []
    for out in (tmp_path / 'a', tmp_path / 'b'):
        names = browse(monkeypatch, config, out, '--number', '3', '--start', '2')
        assert names == ['00002_02.png', '00003_03.png', '00004_04.png']
        pictures.append(cv2.imread(str(out / names[0])))
    assert '3 of 11 samples' in capsys.readouterr().out
    assert np.array_equal(*pictures)
    # classes 'left' and 'right' are black and green in the palette: only the overlay is green
    half = pictures[0][30:-30, pictures[0].shape[1] // 2 :]
    assert (half[..., 1].astype(int) - half[..., 2] > 60).any()
    other = browse(monkeypatch, config, tmp_path / 'c', '--number', '1', '--start', '2')
    assert np.array_equal(cv2.imread(str(tmp_path / 'c' / other[0])), pictures[0])


@pytest.mark.parametrize(
    'name, options, package',
    [
        ('bsa_quickstart', {}, 'mmseg'),
        ('bsa_detection_quickstart', {}, 'mmdet'),
        ('points_quickstart', {}, 'mmpretrain'),
        ('bsa_tracking_quickstart', {'train_dataloader.dataset.length': '2'}, 'mmpretrain'),
    ],
)
def test_browse_shows_every_task(name, options, package, tmp_path, monkeypatch):
    pytest.importorskip(package)
    from mmbsa.apis import find_config

    flags = ['--cfg-options', *(f'{k}={v}' for k, v in options.items())] if options else []
    names = browse(monkeypatch, find_config(name), tmp_path / 'out', '--number', '2', *flags)
    assert len(names) == 2
    for file in names:
        picture = cv2.imread(str(tmp_path / 'out' / file))
        assert min(picture.shape[:2]) > 60 and picture.std() > 5


def test_browse_shows_recordings_and_sequences(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    config, _ = tiny_tools.event_classifier(tmp_path)
    names = browse(monkeypatch, config, tmp_path / 'out', '--split', 'test', '--number', '4')
    assert len(names) == 4 and cv2.imread(str(tmp_path / 'out' / names[0])).shape[0] >= 224
    tool = load('browse_dataset', monkeypatch)
    assert tool.unpack(torch.rand(3, 1, 100), True).shape == (10, 10, 3)
    assert tool.unpack(torch.rand(30, 1, 7), True).shape == (7, 30, 3)
    assert tool.unpack(torch.ones(4, 8, 9), True).shape[1] > 2 * 9
    with pytest.raises(ValueError, match='cannot be drawn'):
        tool.unpack(torch.rand(2), True)


def test_points_are_where_they_should_be(monkeypatch):
    tool = load('browse_dataset', monkeypatch)
    cloud = np.array([[-1.0, -1, 0], [1, 1, 0]], np.float32)
    views = tool.draw_points(cloud, 50)
    assert views.shape == (50, 150, 3)
    first = views[:, :50].min(-1) < 255
    assert first[-10:, :10].any() and first[:10, -10:].any() and not first[:10, :10].any()


def test_browse_names_what_is_missing(tmp_path, monkeypatch, capsys):
    tool = load('browse_dataset', monkeypatch)
    (tmp_path / 'empty.py').write_text('model = dict()')
    assert tool.main([str(tmp_path / 'empty.py'), '--out', str(tmp_path)]) == 1
    assert 'has no train_dataloader.dataset' in capsys.readouterr().err
    config = tiny_run.write_config(tmp_path)
    assert tool.main([str(config), '--out', str(tmp_path / 'o'), '--start', '11']) == 1
    assert '--start 11: there are 11 samples' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['no.py', '--out', 'x'])
    assert 'no.py does not exist' in capsys.readouterr().err


def test_print_config(tmp_path, monkeypatch, capsys):
    tool = load('print_config', monkeypatch)
    assert tool.main(['bsa_quickstart', '--key', 'model.backbone.attention']) == 0
    assert 'BipolarSelfAttention' in capsys.readouterr().out
    options = ['--cfg-options', 'train_cfg.max_iters=7', '--out', str(tmp_path / 'a' / 'b.json')]
    assert tool.main(['bsa_quickstart', *options]) == 0
    assert re.search(r"max_iters'?[=:] ?7", capsys.readouterr().out)
    assert json.loads((tmp_path / 'a' / 'b.json').read_text())['train_cfg']['max_iters'] == 7
    assert tool.main(['bsa_quickstart', '--key', 'param_scheduler.1.type']) == 0
    assert 'PolyLR' in capsys.readouterr().out
    for args, message in (
        (['bsa_quickstart', '--key', 'model.bone'], "model has no 'bone'; it has: type,"),
        (['bsa_quickstar'], 'did you mean bsa_quickstart'),
        (['bsa_quickstart', '--out', str(tmp_path / 'a.txt')], 'must end with .py'),
    ):
        assert tool.main(args) == 1 and message in capsys.readouterr().err


def test_benchmark_counts_images(monkeypatch, capsys, tmp_path):
    tool = load('benchmark', monkeypatch)
    config, weights = tiny_tools.grey_segmentor(tmp_path)
    args = [config, weights, '--shape', '32', '48', '--batch-size', '2', '--iters', '3']
    assert tool.main([*args, '--device', 'cpu', '--fuse']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].endswith('2 x 1 x 32 x 48 on cpu')
    rate, batch = float(lines[-2].split()[-1]), float(lines[-1].split('batch')[1].split()[0])
    assert rate == pytest.approx(2000 / batch, rel=0.01)


def test_benchmark_takes_samples_of_the_data(monkeypatch, capsys):
    pytest.importorskip('mmpretrain')
    from mmbsa.apis import find_config

    tool = load('benchmark', monkeypatch)
    flags = ['--iters', '1', '--warmup', '0', '--device', 'cpu']
    for name, small in (('points_quickstart', '4'), ('bsa_tracking_quickstart', '1')):
        config = str(find_config(name))
        assert tool.main([config, *flags]) == 1
        assert 'use --data' in capsys.readouterr().err
        options = ['--cfg-options', f'test_dataloader.dataset.length={small}']
        assert tool.main([config, *flags, '--data', *options]) == 0
        assert '1 of the test data on cpu' in capsys.readouterr().out
        assert tool.main([config, *flags, '--data', '--batch-size', '9', *options]) == 1
        assert f'the test data has {small} samples' in capsys.readouterr().err


@pytest.mark.parametrize('task', ['events', 'detection'])
def test_benchmark_runs_other_tasks(task, monkeypatch, capsys, tmp_path):
    tool = load('benchmark', monkeypatch)
    if task == 'events':
        pytest.importorskip('mmpretrain')
        args = [*tiny_tools.event_classifier(tmp_path)]
    else:
        pytest.importorskip('mmdet')
        from mmbsa.apis import find_config

        args = [str(find_config('bsa_detection_quickstart')), '--shape', '64']
    assert tool.main([*args, '--iters', '1', '--warmup', '0', '--device', 'cpu']) == 0
    assert 'images per second' in capsys.readouterr().out


def test_benchmark_measures_training_steps(monkeypatch, capsys):
    from mmbsa.apis import find_config

    tool = load('benchmark', monkeypatch)
    flags = ['--train', '--iters', '2', '--warmup', '1', '--device', 'cpu', '--batch-size', '2']
    assert tool.main([str(find_config('bsa_quickstart')), *flags]) == 0
    out = capsys.readouterr().out  # packages that are imported first may print lines too
    assert re.search('^input +2 of the train data on cpu$', out, re.M)
    assert float(re.search(r'^core ms per batch +([0-9.]+)$', out, re.M)[1]) > 1
    assert 5 < float(re.search(r'^peak memory MiB +([0-9]+)$', out, re.M)[1]) < 2000
    with pytest.raises(SystemExit):
        tool.main([str(find_config('bsa_quickstart')), '--train', '--fuse'])
    assert '--train takes neither' in capsys.readouterr().err


def test_benchmark_names_what_it_cannot_time(monkeypatch, capsys):
    tool = load('benchmark', monkeypatch)
    config = str(Config.fromfile(FOLDER.parents[1] / 'configs/bsa_quickstart.py').filename)
    for flags in (['--iters', '0'], ['--shape', '1', '2', '3'], ['--batch-size', '0']):
        with pytest.raises(SystemExit):
            tool.main([config, *flags])
        assert flags[0] in capsys.readouterr().err
    assert str(FOLDER) in sys.path
