"""The tool and the hook count models of every task: classifier, segmentor, detector, tracker and
point classifier.
"""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmbsa.energy import Report
from mmbsa.engine import EnergyHook, FiringRateHook

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    'get_energy_tasks', ROOT / 'tools' / 'analysis_tools' / 'get_energy.py'
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

#: task -> config, what is smaller in it, and whether it is given pictures instead of its test set.
TASKS = {
    'classifier': (
        'spikformer/spikformer_4-384_b128-410e_cifar10-32.py',
        'model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=32, depth=1, num_heads=2)),'
        ' head=dict(in_channels=32))',
        True,
    ),
    'segmentor': ('bsa_quickstart.py', '', True),
    'detector': (
        'bsa_detection_quickstart.py',
        'model = dict(neck=dict(in_channels=[8, 8, 16, 16]), backbone=dict(arch=dict('
        '    embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2)))\n'
        'test_dataloader = dict(dataset=dict(length=2, size=(48, 64)))',
        False,
    ),
    'tracker': (
        'bsa_tracking_quickstart.py',
        'test_dataloader = dict(dataset=dict(length=1, frames=4))',
        False,
    ),
    'point classifier': (
        'points_quickstart.py',
        'test_dataloader = dict(dataset=dict(length=2))',
        False,
    ),
}


@pytest.fixture(params=TASKS)
def task(request, tmp_path):
    """Arguments of the tool for one task."""
    if request.param == 'detector':
        pytest.importorskip('mmdet')
    base, changes, pictures = TASKS[request.param]
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(ROOT / "configs" / base)!r}\n{changes}\n')
    args = [str(config), '--images', '1' if request.param == 'tracker' else '2']
    if pictures:
        for index in range(2):
            picture = np.random.default_rng(index).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / f'{index}.png'), picture)
        args += ['--input', str(tmp_path), '--size', '32', '32']
    return args


def images_of(task):
    """Two samples; of a sequence of four frames every one but the first."""
    return 3 if '1' in task else 2


def test_the_tool_counts_models_of_every_task(task, tmp_path, capsys):
    out = tmp_path / 'out'
    assert tool.main([*task, '--calibrate', '--out', str(out)]) == 0, capsys.readouterr().err
    report = Report.from_dict(json.loads((out / 'report.json').read_text())['report'])
    assert report.images == images_of(task) and report.unknown == {} and 0 < report.rate < 1
    assert report.total.ac > 0 and report.total.updates > 0


def test_hooks_count_what_the_tool_counts(task, tmp_path):
    args = tool.parse_args(task)
    cfg = Config.fromfile(args.config)
    torch.manual_seed(0)
    model = tool.build(cfg, None, 'cpu')
    runner = SimpleNamespace(
        model=model,
        message_hub=MessageHub.get_instance(f'tasks_{tmp_path.name}'),
        work_dir=str(tmp_path),
        iter=0,
    )
    watcher, hooks, metrics = tool.Watcher(model), (EnergyHook(), FiringRateHook()), {}
    tool.run(model, tool.inputs(cfg, args)[1], None, watcher)
    for hook in hooks:
        hook.before_val_epoch(runner)
    for index, data in enumerate(tool.inputs(cfg, args)[1]):
        hooks[0].before_val_iter(runner, index, data)
        with torch.no_grad():
            outputs = model.val_step(data)
        for hook in hooks:
            hook.after_val_iter(runner, index, data, outputs)
    for hook in hooks:
        hook.after_val_epoch(runner, metrics)
    wanted, rates = watcher.report, json.loads((tmp_path / 'firing_rates.json').read_text())
    found = Report.from_dict(json.loads((tmp_path / 'energy.json').read_text())['report'])
    assert found.total == wanted.total and found.images == wanted.images == images_of(task)
    assert (
        metrics['energy/GAC'] == pytest.approx(wanted.total.ac / wanted.images / 1e9)
        and wanted.total.ac > 0
    )
    assert 0 < rates['firing_rate'] < 1 and len(rates['layers']) == len(
        {row.module for row in found.counted() if row.kind == 'neuron'}
    )
