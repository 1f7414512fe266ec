"""tools/swap_backbone.py writes files that mmseg's own tools train."""

import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

pytest.importorskip('mmseg')
pytestmark = pytest.mark.seg
ROOT = Path(__file__).resolve().parents[2]
STOCK = """
_base_ = ['mmseg::_base_/models/fcn_unet_s5-d16.py', 'mmseg::_base_/default_runtime.py']
crop_size = (64, 64)
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
            dict(type='RandomCrop', crop_size=crop_size), dict(type='PackSegInputs')]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                 dict(type='PackSegInputs')]
data = dict(type='BaseSegDataset', data_root={root!r},
            data_prefix=dict(img_path='img', seg_map_path='ann'), img_suffix='.png',
            seg_map_suffix='.png', metainfo=dict(classes=('a', 'b')))
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'),
                        dataset=dict(pipeline=pipeline, **data))
val_dataloader = dict(batch_size=1, num_workers=0,
                      sampler=dict(type='DefaultSampler', shuffle=False),
                      dataset=dict(pipeline=test_pipeline, **data))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
                     logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False))
model = dict(data_preprocessor=dict(size=crop_size), test_cfg=dict(_delete_=True, mode='whole'))
"""


def run(*command, cwd) -> str:
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=paths)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def stock(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in 'ab':
        for folder, picture in (
            ('img', rng.integers(0, 255, (72, 80, 3))),
            ('ann', rng.integers(0, 2, (72, 80))),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f'{name}.png'), picture.astype(np.uint8))
    path = tmp_path / 'stock.py'
    path.write_text(STOCK.format(root=str(tmp_path)))
    return path


def test_mmsegs_own_tool_trains_the_written_file(stock, tmp_path):
    out = tmp_path / 'new' / 'swapped.py'
    printed = run(
        ROOT / 'tools/swap_backbone.py',
        stock,
        '--backbone',
        'mmbsa.ESpikeFormer',
        '--backbone-options',
        'arch.embed_dims=[8,16,16,32]',
        'arch.depths=[1,1]',
        'arch.num_heads=2',
        'num_steps=2',
        '--cfg-options',
        'model.decode_head.num_classes=2',
        '-o',
        out,
        cwd=tmp_path,
    )
    assert 'shapes fit at 64 x 64' in printed and 'M parameters' in printed
    text = out.read_text()
    assert '_base_' not in text and 'custom_imports' not in text and 'mmseg::' not in text
    cfg = Config.fromfile(str(out))
    assert cfg.model.backbone.num_steps == 2 and cfg.default_scope == 'mmseg'
    train = Path(find_spec('mmseg').submodule_search_locations[0]) / '.mim' / 'tools' / 'train.py'
    log = run(train, out, '--work-dir', tmp_path / 'work', cwd=tmp_path)
    assert 'mIoU' in log and 'loss' in log
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool in this process; returns its exit code (or message) and what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['swap_backbone.py', *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / 'tools/swap_backbone.py'), run_name='__main__')
        return stop.value.code, capsys.readouterr().out

    return call


def test_refusals_are_one_line_and_an_exit_code(tool, tmp_path):
    out = tmp_path / 'out.py'
    code, _ = tool('mmseg::san/san-vit-b16_voc12aug-640x640', '-o', out)
    assert code.startswith('swap not possible: decode_head SideAdapterCLIPHead')
    assert '\n' not in code
    assert not out.exists()


def test_survey_of_families(tool, tmp_path):
    out = tmp_path / 'survey.md'
    code, text = tool(
        '--survey',
        '--families',
        'erfnet',
        'san',
        '--backbone',
        'espikeformer-t',
        '--forward',
        '--out',
        out,
    )
    assert code == 0 and '7 configs: 1 swapped, 6 refused, 0 crashed' in text
    assert out.read_text().strip() in text and '| erfnet | 1 | 1 | 1 | 0 | 0 | loss' in text


def test_names_are_listed(tool):
    code, text = tool('--list')
    assert code == 0 and 'espikeformer-{t,s,m,l,' in text and '[-bsa' in text


def test_a_missing_argument_is_named(tool, capsys):
    assert tool('some.py')[0] == 2
