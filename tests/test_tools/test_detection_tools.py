"""mmdet's own tools train and test our configs, with the stand-in for ops in place before they
start.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
from mmbsa.apis.swap.load import installed_configs  # noqa: E402
from mmbsa.utils.mmcv_ops import has_compiled_ops, main  # noqa: E402

pytestmark = pytest.mark.det

ROOT = Path(__file__).resolve().parents[2]
TINY = """
_base_ = {quickstart!r}
model = dict(backbone=dict(arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)),
             neck=dict(in_channels=[8, 8, 16, 16]))
max_iters = 2
train_cfg = dict(max_iters=2, val_interval=2)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(length=4, size=(48, 64)))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                      dataset=dict(length=2, size=(48, 64)))
test_dataloader = val_dataloader
param_scheduler = []
default_hooks = dict(checkpoint=dict(interval=2, save_best=None))
custom_hooks = [dict(type='mmbsa.FiringRateHook'), dict(type='mmbsa.EnergyHook', max_batches=1)]
"""


def tools() -> Path:
    """Folder of mmdet's tools: in its wheel, or beside the configs of a checkout."""
    return installed_configs('mmdet').parent / 'tools'


@pytest.fixture
def python(tmp_path):
    """Run a script of mmdet with the repo, and with mmcv whose folder has the pointer, in front of
    the path.
    """
    paths = [str(ROOT)]
    if not has_compiled_ops():
        folder = tmp_path / 'site'
        (folder / 'mmcv').mkdir(parents=True)
        for file in Path(find_spec('mmcv').origin).parent.iterdir():
            (folder / 'mmcv' / file.name).symlink_to(file)
        paths = [str(folder), *paths]
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(paths),
        PYTHONWARNINGS='ignore',
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
    )

    def run(*args):
        done = subprocess.run(
            [sys.executable, *map(str, args)],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    if not has_compiled_ops():
        assert 'wrote' in run('-m', 'mmbsa.utils.mmcv_ops')
    return run


@pytest.mark.skipif(
    not (tools() / 'train.py').is_file(), reason='this mmdet was installed without its tools'
)
def test_mmdet_trains_and_tests_our_config(tmp_path, python):
    config = tmp_path / 'tiny.py'
    config.write_text(TINY.format(quickstart=str(ROOT / 'configs' / 'bsa_detection_quickstart.py')))
    log = python(tools() / 'train.py', config, '--work-dir', tmp_path / 'run')
    assert 'coco/segm_mAP_50' in log
    rates = json.loads((tmp_path / 'run' / 'firing_rates.json').read_text())
    assert 0 < rates['firing_rate'] < 1
    assert {name.split('.')[0] for name in rates['layers']} == {
        'backbone',
        'neck',
        'rpn_head',
        'roi_head',
    }
    energy = json.loads((tmp_path / 'run' / 'energy.json').read_text())
    assert 'energy/compute_mJ' in log and energy['energy']['compute'] > 0
    assert not energy['report']['without_a_rule']
    assert set(rates['layers']) == {
        row['module'] for row in energy['report']['rows'] if row['kind'] == 'neuron'
    }
    assert list((tmp_path / 'run' / 'overlays').rglob('drawn_val_*.png'))
    log = python(
        tools() / 'test.py', config, tmp_path / 'run' / 'iter_2.pth', '--work-dir', tmp_path / 'run'
    )
    assert 'coco/bbox_mAP_50' in log


def test_pointer_is_not_written_beside_compiled_ops(monkeypatch, capsys):
    monkeypatch.setattr('mmbsa.utils.mmcv_ops.has_compiled_ops', lambda: True)
    main([])
    assert 'nothing to do' in capsys.readouterr().out
