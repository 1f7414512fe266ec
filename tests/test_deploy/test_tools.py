"""The command lines of ``tools/deployment``, on a tiny classifier."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmbsa.apis.inference import build_model

pytest.importorskip('onnxruntime')
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools' / 'deployment'
CONFIG = '''
model = dict(type='mmbsa.SpikingClassifier', num_classes={classes}, backbone=dict(
    type='mmbsa.SpikeDrivenTransformer', arch=dict(embed_dims=16, depth=1, num_heads=2), num_steps=1,
    out_indices=(-1,)))
'''


def tool(name, *args, status=0):
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, str(TOOLS / f'{name}.py'), *map(str, args)], capture_output=True, text=True,
                          env=env)
    assert done.returncode == status, done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Folder with a config, its checkpoint, the checkpoint of another model, photos and an empty folder."""
    from mmengine.config import Config
    folder = tmp_path_factory.mktemp('deploy')
    torch.manual_seed(0)
    for name, classes in (('own', 4), ('other', 5)):
        (folder / f'{name}.py').write_text(CONFIG.format(classes=classes))
        model = build_model(Config.fromfile(folder / f'{name}.py'))
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}.pth')
    (folder / 'photos').mkdir()
    (folder / 'empty').mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'photos' / f'{index}.png')
    return folder


def test_export_then_check(files):
    out = files / 'own.onnx'
    words = tool('export', files / 'own.py', files / 'own.pth', '--out', out, '--size', 32, 32)
    assert 'format onnx' in words and out.stat().st_size > 1000
    words = tool('check', files / 'own.py', files / 'own.pth', out, '--images', files / 'photos', '--size', 32, 32)
    assert '3 photos' in words and 'equal predictions 100.0000%' in words
    words = tool('check', files / 'own.py', files / 'own.pth', out, '--images', files / 'empty', '--size', 32, 32, status=1)
    assert words.startswith('error: --images') and 'no file that ends in' in words


def test_a_checkpoint_of_another_model(files):
    out = files / 'never.onnx'
    words = tool('export', files / 'own.py', files / 'other.pth', '--out', out, '--size', 32, 32, status=1)
    assert 'is of another model than' in words and 'head.weight' in words and not list(files.glob('*never*'))


def test_benchmark_prints_a_row_per_runtime(files):
    words = tool('benchmark', files / 'own.py', '--size', 32, 32, '--batches', 1, '--runs', 2, '--runtimes', 'torch',
                 'onnxruntime')
    rows = [line.split('|') for line in words.splitlines() if line.startswith('| own ')]
    assert [row[3].strip() for row in rows] == ['torch', 'onnxruntime']
    assert all(float(cell) > 0 for row in rows for cell in row[4:8])
