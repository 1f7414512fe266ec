"""Training, resuming and testing a tracker with ``tools/train.py`` and ``tools/test.py``, in
seconds.
"""

import runpy
import sys

import pytest
import tiny_run
import torch
from mmengine.config import Config

from mmbsa.structures.track_files import read_boxes

TOOLS = tiny_run.ROOT / 'tools'
CONFIG = """
_base_ = [{quickstart!r}]
model = dict(
    backbone=dict(arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)),
    head=dict(channels=8), crops=dict(template_size=32, search_size=64))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(length=2, samples_per_epoch=4, frames=20, size=(48, 64), clutter=1, pipeline=[
        dict(type='LoadTrackPair'), dict(type='CropTrackPair', size=(32, 64)),
        dict(type='PackTrackInputs')]))
val_dataloader = dict(batch_size=2, dataset=dict(length=2, frames=6, size=(48, 64), clutter=1))
test_dataloader = dict(batch_size=2, dataset=dict(length=3, frames=6, size=(48, 64), clutter=1))
test_evaluator = dict(output_dir={results!r})
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def run(monkeypatch, script, *args):
    """The runner of a tool; what it logged is in the work dir."""
    from mmengine.runner import Runner

    runners = []
    build = Runner.from_cfg.__func__
    monkeypatch.setattr(
        Runner,
        'from_cfg',
        classmethod(lambda cls, cfg: runners.append(build(cls, cfg)) or runners[-1]),
    )
    monkeypatch.setattr(sys, 'argv', [script, *map(str, args)])
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    runpy.run_path(str(TOOLS / script), run_name='__main__')
    return runners[-1]


@pytest.mark.parametrize('attention', ['bsa', 'native'])
def test_train_and_test(tmp_path, monkeypatch, attention):
    config = tmp_path / 'tiny.py'
    config.write_text(
        CONFIG.format(
            quickstart=str(tiny_run.ROOT / 'configs' / 'bsa_tracking_quickstart.py'),
            results=str(tmp_path / 'results'),
        )
    )
    native = ['--cfg-options', 'model.backbone.attention=None'] if attention == 'native' else []
    runner = run(monkeypatch, 'train.py', config, '--work-dir', tmp_path / 'run', *native)
    assert runner.iter == 4
    scores = runner.message_hub.log_scalars
    assert {f'val/track/{key}' for key in ('AUC', 'PR', 'NPR', 'fps')} <= set(scores)
    assert torch.isfinite(torch.tensor(scores['train/loss'].data[0])).all()
    runner = run(
        monkeypatch,
        'test.py',
        config,
        tmp_path / 'run' / 'epoch_2.pth',
        '--work-dir',
        tmp_path / 'run',
        *native,
    )
    files = sorted(path.name for path in (tmp_path / 'results').iterdir())
    assert files == [f'test000{i}{end}.txt' for i in range(3) for end in ('', '_time')]
    assert read_boxes(tmp_path / 'results' / files[0]).shape == (6, 4)
    assert Config.fromfile(config).test_evaluator.type == 'TrackingMetric'
