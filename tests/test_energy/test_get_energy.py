"""The tool on configs of both tasks, on pictures; and its errors."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_tools
import torch

from mmbsa.energy import Report

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    'get_energy', ROOT / 'tools' / 'analysis_tools' / 'get_energy.py'
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
CONFIG = str(ROOT / 'configs' / 'bsa_quickstart.py')
CIFAR = str(ROOT / 'configs' / 'spikformer' / 'spikformer_4-384_b128-410e_cifar10-32.py')
SMALL = [
    '--cfg-options',
    "model.backbone.arch={'embed_dims': 32, 'depth': 1, 'num_heads': 2}",
    'model.head.in_channels=32',
]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    generator = np.random.default_rng(0)
    for index in range(3):
        (folder / str(index)).mkdir()
        cv2.imwrite(
            str(folder / str(index) / 'photo.png'),
            generator.integers(0, 255, (70, 90, 3), dtype=np.uint8),
        )
    return folder


def test_reports_of_a_segmentor_are_written(photos, tmp_path, capsys):
    out = tmp_path / 'out'
    args = [
        CONFIG,
        '--input',
        str(photos),
        '--images',
        '2',
        '--size',
        '64',
        '64',
        '--twin',
        '--cost',
        'step',
        '--calibrate',
        '--out',
        str(out),
    ]
    assert tool.main(args) == 0
    text = capsys.readouterr().out
    assert 'unit costs step' in text and 'break-even' in text and 'weights are random' in text
    assert {path.name for path in out.iterdir()} >= {
        'report.json',
        'layers.csv',
        'energy.md',
        'audit.md',
        'components.png',
        'report.html',
    }
    data = json.loads((out / 'report.json').read_text())
    report = Report.from_dict(data['report'])
    assert report.images == 2 and report.unknown == {} and report.rate > 0
    assert data['energy']['total'] == pytest.approx(
        data['twins']['accounts']['spiking']['total'], rel=0.9
    )


def test_grey_pictures_are_read_as_the_config_says(photos, tmp_path):
    config, checkpoint = tiny_tools.grey_segmentor(tmp_path)
    common = ['--input', str(photos), '--images', '1', '--size', '32', '32']
    assert tool.main([config, checkpoint, *common, '--out', str(tmp_path / 'out')]) == 0
    assert json.loads((tmp_path / 'out' / 'report.json').read_text())['report']['images'] == 1


def test_a_checkpoint_is_loaded_and_a_stranger_s_refused(photos, tmp_path, capsys):
    model = tool.build(tool.Config.fromfile(CONFIG), None, 'cpu')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'own.pth')
    torch.save(dict(state_dict={'a.weight': torch.zeros(1)}), tmp_path / 'other.pth')
    (tmp_path / 'broken.pth').write_bytes(b'nothing')
    common = ['--input', str(photos), '--images', '1', '--size', '32', '32']
    assert tool.main([CONFIG, str(tmp_path / 'own.pth'), *common]) == 0
    assert 'weights are random' not in capsys.readouterr().out
    assert tool.main([CONFIG, str(tmp_path / 'other.pth'), *common]) == 2
    assert 'is from another model than the config' in capsys.readouterr().err
    assert tool.main([CONFIG, str(tmp_path / 'broken.pth'), *common]) == 2
    assert 'broken.pth' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(config='none.py'), 'none.py does not exist'),
        (dict(input='nowhere'), '--input nowhere does not exist'),
        (dict(cost='gold'), "'gold' is neither a preset"),
        (dict(images='0'), '--images must be at least 1'),
    ],
)
def test_bad_input_is_one_error(photos, tmp_path, capsys, change, message):
    given = {**dict(config=CONFIG, input=str(photos), cost='field', images='1'), **change}
    out = tmp_path / 'out'
    assert (
        tool.main(
            [
                given['config'],
                '--input',
                given['input'],
                '--cost',
                given['cost'],
                '--images',
                given['images'],
                '--out',
                str(out),
            ]
        )
        == 2
    )
    assert message in capsys.readouterr().err and not out.exists()


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert tool.main([CONFIG, '--input', str(tmp_path / 'empty')]) == 2
    assert 'has no picture' in capsys.readouterr().err


def test_a_missing_test_set_asks_for_a_folder(tmp_path, capsys):
    options = ['--cfg-options', f'test_dataloader.dataset.data_root={tmp_path}/none']
    assert tool.main([str(ROOT / 'configs' / 'bsa_camvid.py'), *options]) == 2
    assert 'set a folder with --input' in capsys.readouterr().err
