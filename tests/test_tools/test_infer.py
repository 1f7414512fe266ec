"""tools/infer.py: pictures in, overlays out, and one bad picture costs nothing but itself."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.seg
ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.] * 3, std=[60.] * 3, bgr_to_rgb=True),
    backbone=dict(type='mmbsa.ESpikeFormer', arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2),
                  attention=dict(type='mmbsa.BipolarSelfAttention'), out_indices=(2, 4)),
    neck=dict(type='mmbsa.TemporalReadout'),
    decode_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_convs=1, num_classes=3,
                     norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 48), keep_ratio=True),
                 dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('infer_tool', ROOT / 'tools/infer.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def model_files(tmp_path_factory):
    from mmengine import Config
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS
    folder = tmp_path_factory.mktemp('model')
    (folder / 'config.py').write_text(CONFIG)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    meta = dict(classes=('a', 'b', 'c'), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    torch.save(dict(meta=dict(dataset_meta=meta), state_dict=model.state_dict()), folder / 'weights.pth')
    return [str(folder / 'config.py'), str(folder / 'weights.pth')]


def picture(path, size=(50, 70)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def test_one_picture_equals_mmseg(tool, model_files, tmp_path):
    from mmseg.apis import inference_model, init_model
    source = picture(tmp_path / 'in' / 'a.png')
    assert tool.main([str(source), *model_files, '--out', str(tmp_path / 'out'), '--device', 'cpu', '--labels']) == 0
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['a.labels.png', 'a.png']
    labels = cv2.imread(str(tmp_path / 'out/a.labels.png'), cv2.IMREAD_UNCHANGED)
    expected = inference_model(init_model(*model_files, device='cpu'), str(source)).pred_sem_seg.data[0].numpy()
    assert labels.shape == (50, 70) and np.array_equal(labels, expected)
    overlay = cv2.imread(str(tmp_path / 'out/a.png'))
    assert overlay.shape[1] > 2 * 70 and overlay.std() > 5


def test_fused_model_predicts_alike(tool, model_files, tmp_path):
    source, labels = picture(tmp_path / 'in' / 'a.png'), []
    for flag in ([], ['--fuse']):
        out = tmp_path / f'out{len(flag)}'
        assert tool.main([str(source), *model_files, '--out', str(out), '--device', 'cpu', '--labels', *flag]) == 0
        labels.append(cv2.imread(str(out / 'a.labels.png'), cv2.IMREAD_UNCHANGED))
    assert (labels[0] == labels[1]).mean() > .99  # a membrane within rounding of its threshold may fire in one of them


def test_folder_goes_on_after_bad_pictures(tool, model_files, tmp_path):
    source = tmp_path / 'in'
    for name in ('a.jpg', 'a.png', 'deep/b.JPG'):
        picture(source / name)
    (source / 'broken.jpg').write_bytes(b'\xff\xd8 this is no picture')
    (source / 'empty.png').write_bytes(b'')
    (source / 'notes.txt').write_text('not looked at')
    out = source / 'out'  # inside of the input: a second run must not read what the first one wrote
    args = [str(source), *model_files, '--out', str(out), '--device', 'cpu']
    env = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}', 'OMP_NUM_THREADS': '1'}
    run = subprocess.run([sys.executable, str(ROOT / 'tools/infer.py'), *args], capture_output=True, text=True, env=env)
    assert run.returncode == 1, run.stderr
    assert '3 of 5 pictures' in run.stdout
    failed = [line for line in run.stderr.splitlines() if line.startswith('failed: ')]
    assert len(failed) == 2 and 'broken.jpg' in failed[0] and 'empty.png' in failed[1]
    names = ['a.jpg.png', 'a.png.png', 'deep/b.png']
    assert sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()) == names
    assert tool.main(args) == 1
    assert sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()) == names


def test_nothing_to_do_is_an_error(tool, model_files, tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    assert tool.main([str(tmp_path / 'in'), *model_files, '--out', str(tmp_path / 'out')]) == 1
    assert str(tmp_path / 'in') in capsys.readouterr().err


@pytest.mark.parametrize('position, name', [(0, 'no.jpg'), (1, 'no.py'), (2, 'no.pth')])
def test_what_is_not_there_is_named(tool, model_files, tmp_path, capsys, position, name):
    args = [str(picture(tmp_path / 'a.png')), *model_files]
    args[position] = name
    with pytest.raises(SystemExit) as stop:
        tool.main([*args, '--out', str(tmp_path / 'out')])
    assert stop.value.code == 2 and f'{name} does not exist' in capsys.readouterr().err


def test_checkpoint_cannot_run_code(tool, model_files, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / 'owned'), 'w'))

    torch.save(dict(meta={}, state_dict={}, extra=Evil()), tmp_path / 'evil.pth')
    source = picture(tmp_path / 'a.png')
    with pytest.raises(Exception, match='evil.pth'):
        tool.main([str(source), model_files[0], str(tmp_path / 'evil.pth'), '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'owned').exists()
