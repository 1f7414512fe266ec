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
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.] * 3, std=[60.] * 3,
        bgr_to_rgb=True),
    backbone=dict(type='mmbsa.ESpikeFormer', arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1),
        num_heads=2),
                  attention=dict(type='mmbsa.BipolarSelfAttention'), out_indices=(2, 4)),
    neck=dict(type='mmbsa.TemporalReadout'),
    decode_head=dict(type='FCNHead', in_channels=16, in_index=1, channels=8, num_convs=1,
        num_classes=3,
                     norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 48),
    keep_ratio=True),
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
    torch.save(
        dict(meta=dict(dataset_meta=meta), state_dict=model.state_dict()), folder / 'weights.pth'
    )
    return [str(folder / 'config.py'), str(folder / 'weights.pth')]


def picture(path, size=(50, 70)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def test_one_picture_equals_mmseg(tool, model_files, tmp_path):
    from mmseg.apis import inference_model, init_model

    source = picture(tmp_path / 'in' / 'a.png')
    assert (
        tool.main(
            [
                str(source),
                *model_files,
                '--out',
                str(tmp_path / 'out'),
                '--device',
                'cpu',
                '--labels',
            ]
        )
        == 0
    )
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['a.labels.png', 'a.png']
    labels = cv2.imread(str(tmp_path / 'out/a.labels.png'), cv2.IMREAD_UNCHANGED)
    expected = (
        inference_model(init_model(*model_files, device='cpu'), str(source))
        .pred_sem_seg.data[0]
        .numpy()
    )
    assert labels.shape == (50, 70) and np.array_equal(labels, expected)
    overlay = cv2.imread(str(tmp_path / 'out/a.png'))
    assert overlay.shape[1] > 2 * 70 and overlay.std() > 5


def test_fused_model_predicts_alike(tool, model_files, tmp_path):
    source, labels = picture(tmp_path / 'in' / 'a.png'), []
    for flag in ([], ['--fuse']):
        out = tmp_path / f'out{len(flag)}'
        assert (
            tool.main(
                [str(source), *model_files, '--out', str(out), '--device', 'cpu', '--labels', *flag]
            )
            == 0
        )
        labels.append(cv2.imread(str(out / 'a.labels.png'), cv2.IMREAD_UNCHANGED))
    assert (
        labels[0] == labels[1]
    ).mean() > 0.99  # a membrane within rounding of its threshold may fire in one of them


def test_folder_goes_on_after_bad_pictures(tool, model_files, tmp_path):
    source = tmp_path / 'in'
    for name in ('a.jpg', 'a.png', 'deep/b.JPG'):
        picture(source / name)
    (source / 'broken.jpg').write_bytes(b'\xff\xd8 this is no picture')
    (source / 'empty.png').write_bytes(b'')
    (source / 'notes.txt').write_text('not looked at')
    for name in ('._a.jpg', '.hidden/c.jpg', '__MACOSX/d.jpg'):
        picture(source / name)
    out = source / 'out'  # inside of the input: a second run must not read what the first one wrote
    args = [str(source), *model_files, '--out', str(out), '--device', 'cpu']
    env = {
        **os.environ,
        'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
        'OMP_NUM_THREADS': '1',
    }
    run = subprocess.run(
        [sys.executable, str(ROOT / 'tools/infer.py'), *args],
        capture_output=True,
        text=True,
        env=env,
    )
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
        tool.main(
            [
                str(source),
                model_files[0],
                str(tmp_path / 'evil.pth'),
                '--out',
                str(tmp_path / 'out'),
            ]
        )
    assert not (tmp_path / 'owned').exists()


def outputs(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_a_photo_is_never_written_over(tool, model_files, tmp_path):
    source = picture(tmp_path / 'photo.png')
    before = source.read_bytes()
    picture(tmp_path / 'other.png')  # beside a photo, not read, and not ours either
    args = [*model_files, '--out', str(tmp_path), '--device', 'cpu', '--labels']
    assert tool.main([str(source), *args]) == 0 and tool.main([str(source), *args]) == 0
    assert source.read_bytes() == before
    assert outputs(tmp_path) == ['other.png', 'photo.labels.png', 'photo.overlay.png', 'photo.png']


def test_a_folder_that_holds_its_own_output(tool, model_files, tmp_path):
    for name in ('a.png', 'b.jpg', 'deep/a.png'):
        picture(tmp_path / name)
    picture(tmp_path / '._a.png')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.*')}
    expected = sorted(
        [
            *(str(path.relative_to(tmp_path)) for path in before),
            'a.overlay.png',
            'b.overlay.png',
            'deep/a.overlay.png',
        ]
    )
    for _ in range(2):  # the second time overlays are there, and are not read
        assert (
            tool.main([str(tmp_path), *model_files, '--out', str(tmp_path), '--device', 'cpu']) == 0
        )
        assert outputs(tmp_path) == expected
    assert {path: path.read_bytes() for path in before} == before


def test_output_above_the_input(tool, model_files, tmp_path, monkeypatch):
    picture(tmp_path / 'pics/a.jpg')
    picture(tmp_path / 'pics/pics/b.jpg')
    before = picture(
        tmp_path / 'pics/b.png'
    ).read_bytes()  # where the overlay of pics/pics/b.jpg would go
    monkeypatch.chdir(tmp_path)
    assert tool.main(['pics', *model_files, '--out', '.', '--device', 'cpu']) == 0
    assert outputs(tmp_path) == [
        'a.png',
        'b.png',
        'pics/a.jpg',
        'pics/b.overlay.png',
        'pics/b.png',
        'pics/pics/b.jpg',
    ]
    assert (tmp_path / 'pics/b.png').read_bytes() == before


def test_no_two_files_share_an_output(tool, tmp_path):
    names = [
        'a.png',
        'a.jpg',
        'a.png.png',
        'a.labels.png',
        'a.jpg.labels.png',
        'd/a.png',
        'a.overlay.png',
    ]
    files = [tmp_path / 'in' / name for name in names]
    for out in ('out', 'in', '.', 'in/d'):
        pairs = tool.name_targets(files, tmp_path / 'in', tmp_path / out).values()
        targets = [target.resolve() for pair in pairs for target in pair]
        assert len(set(targets)) == 2 * len(files) and not set(targets) & {
            path.resolve() for path in files
        }


def test_grey_pictures_are_read_as_the_config_says(tool, tmp_path):
    import tiny_tools

    files = tiny_tools.grey_segmentor(tmp_path)
    source = picture(tmp_path / 'in/a.png')
    assert (
        tool.main(
            [str(source), *files, '--out', str(tmp_path / 'out'), '--device', 'cpu', '--labels']
        )
        == 0
    )
    from mmseg.apis import inference_model, init_model

    labels = cv2.imread(str(tmp_path / 'out/a.labels.png'), cv2.IMREAD_UNCHANGED)
    expected = (
        inference_model(init_model(*files, device='cpu'), str(source)).pred_sem_seg.data[0].numpy()
    )
    assert np.array_equal(labels, expected)


def test_recordings_are_classified(tool, tmp_path):
    pytest.importorskip('mmpretrain')
    import tiny_tools

    files = tiny_tools.event_classifier(tmp_path)
    picture(tmp_path / 'data/test/left/no_recording.png')
    assert (
        tool.main(
            [str(tmp_path / 'data/test'), *files, '--out', str(tmp_path / 'out'), '--device', 'cpu']
        )
        == 0
    )
    assert outputs(tmp_path / 'out') == [
        f'{kind}/0{i}.png' for kind in ('left', 'right') for i in range(3)
    ]
    assert cv2.imread(str(tmp_path / 'out/left/00.png')).shape[1] >= 224
