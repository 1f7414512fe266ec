"""The steps of CONTRIBUTING.md work as they are written: the code of the page is run, and nothing
else is touched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'CONTRIBUTING.md').read_text()
CHECK = """
import timm
import mmbsa.models
from mmbsa.apis.swap.names import backbone_config
from mmbsa.registry import MODELS

assert backbone_config('myformer-s') == dict(type='mmbsa.MyFormer', arch='s')
assert backbone_config('espikeformer-m-mean')['attention'] == dict(type='mmbsa.MeanAttention')
assert 'myformer_s' in timm.list_models('myformer*') and timm.is_model('myformer_s_bsa')
model = timm.create_model('myformer_s', num_classes=3)
assert model.pretrained_cfg['crop_pct'] == 0.9
"""

OP = """
import torch
from my_op import floor_power
from mmbsa.ops import implementations

x = torch.tensor([-2.0, 0, 0.3, 1, 1.5, 2, 1000], dtype=torch.float64, requires_grad=True)
y = floor_power(x)
assert y.tolist() == [0, 0, 0.25, 1, 1, 2, 512]
assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0, 0, 1, 1, 1, 1, 1]
assert implementations('floor_power') == ['reference']
torch.library.opcheck(torch.ops.mmbsa.floor_power.default, (x, 'auto'))
for call, error in ((lambda: floor_power(x.long()), 'must be floating'),
                    (lambda: floor_power(x, impl='no'), 'impl must be one of')):
    try:
        call()
    except ValueError as found:
        assert error in str(found)
    else:
        raise AssertionError(error)
"""
TASK = """
import pathlib, sys
import cv2, numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
import mmbsa.models
import my_dataset, my_task

root = pathlib.Path(sys.argv[1])
for split in ('train', 'test'):
    (root / split).mkdir()
    for i, name in enumerate(('one', 'two', 'three') * 2):
        picture = np.full((32, 32, 3), 60 * (i % 3) + 20, np.uint8)
        cv2.imwrite(str(root / split / f'{name}_{i}.png'), picture)
data = my_dataset.NamedPictures(data_root=root, split='train')
assert data.get_gt_labels().tolist() == [0, 0, 2, 2, 1, 1]  # one, three, two
for folder, error in (('empty', 'no *.png'), ('other', 'begins with none of')):
    (root / folder / 'train').mkdir(parents=True)
    if folder == 'other':
        cv2.imwrite(str(root / folder / 'train' / 'four_0.png'), picture)
    try:
        my_dataset.NamedPictures(data_root=root / folder)
    except (FileNotFoundError, ValueError) as found:
        assert error in str(found)
    else:
        raise AssertionError(error)


def loader(split):
    return dict(
        batch_size=3, num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=split == 'train'),
        dataset=dict(
            type='NamedPictures', data_root=str(root), split=split,
            pipeline=[dict(type='LoadImageFromFile'), dict(type='PackValue')]))


runner = Runner.from_cfg(Config(dict(
    default_scope='mmbsa', work_dir=str(root / 'work'),
    model=dict(
        type='ValueEstimator',
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0] * 3, std=[255] * 3),
        backbone=dict(type='ESpikeFormer', readout='mean', arch=dict(
            embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2))),
    train_dataloader=loader('train'), val_dataloader=loader('test'),
    train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=2), val_cfg=dict(),
    val_evaluator=dict(type='MeanError'),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)))))
before = [p.clone() for p in runner.model.parameters()]
runner.train()
assert any((a != b).any() for a, b in zip(before, runner.model.parameters()))
metrics = runner.val_loop.run()
assert 0 <= metrics['mean_error'] < 100
"""


def code(name):
    """The block of the page that is marked with ``name``."""
    return re.search(rf'```python {name}\n(.*?)```', PAGE, re.S).group(1)


@pytest.fixture(scope='module')
def module(tmp_path_factory):
    """A folder with the page's attention and family as one module of a user's project."""
    folder = tmp_path_factory.mktemp('project')
    (folder / 'my_attention.py').write_text(code('attention'))
    (folder / 'my_former.py').write_text(code('family'))
    for name in ('op', 'dataset', 'task'):
        (folder / f'my_{name}.py').write_text(code(name))
    (folder / 'my_project.py').write_text('import my_attention, my_former  # noqa\n')
    return folder


def run(folder, *command):
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')]),
    )
    env.pop('PYTEST_XDIST_WORKER', None)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_matrix_finds_the_new_family_and_kind(module):
    out = run(
        module,
        '-m',
        'pytest',
        'tests/test_models/test_matrix.py',
        '-p',
        'my_project',
        '-p',
        'no:cacheprovider',
        '-p',
        'no:xdist',
        '-k',
        'MyFormer or (MeanAttention and (QKFormer or ESpikeFormer))',
    )
    assert int(re.search(r'(\d+) passed', out).group(1)) > 30 and 'failed' not in out


def test_names_follow_the_registry(module):
    run(module, '-c', 'import my_project\n' + CHECK)
    run(module, '-c', CHECK.replace('import mmbsa.models', 'import mmbsa.models, my_project'))


def test_an_op_has_a_gradient_and_is_registered(module):
    run(module, '-c', OP)


def test_a_task_trains_on_a_dataset(module, tmp_path):
    run(module, '-c', TASK, str(tmp_path))


def test_every_block_of_the_page_is_tested():
    named = re.findall(r'```python (\w+)\n', PAGE)
    assert sorted(named) == ['attention', 'dataset', 'family', 'op', 'task']
