"""Classification runs of seconds through our tools: resume, test, several processes, and weights
for segmentation."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_run
import torch

pytest.importorskip('mmpretrain')
import mmpretrain  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from test_train import TOOLS, python, shell  # noqa: E402

from mmbsa.utils.checkpoint import load_checkpoint_file  # noqa: E402

BASES = tiny_run.ROOT / 'configs' / '_base_'
MMPRETRAIN_TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
CONFIG = """
_base_ = [{model!r}, {runtime!r}]
custom_imports = dict(imports=['tiny_run'], allow_failed_imports=False)
data_preprocessor = dict(num_classes=3, mean=[127.5] * 3, std=[60.0] * 3, to_rgb=True)
model = dict(
    backbone=dict(type='mmbsa.ESpikeFormer', num_steps=1,
                  arch=dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2),
                  attention=dict(type='mmbsa.BipolarSelfAttention'), norm_cfg=dict(type='SyncBN')),
    head=dict(num_classes=3),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
                   probs=[0.5, 0.5]))
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5),
            dict(type='ColorJitter', brightness=0.3), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={data!r}, data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root={data!r}, data_prefix='val',
                 pipeline=[pipeline[0], pipeline[-1]]))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 2))
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='mmbsa.Lamb', lr=0.01, weight_decay=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=4,
                        convert_to_iter_based=True)]
train_cfg = dict(by_epoch=True, max_epochs=4)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=1), diary=dict(type='DiaryHook'))
custom_hooks = [dict(type='EMAHook', momentum=0.1),
                dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=3, batch_augments=None)])]
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2)):
        for label in range(3):
            (folder / split / f'class_{label}').mkdir(parents=True)
            for index in range(number):
                image = (rng.integers(0, 90, (32, 32, 3)) + 80 * np.eye(3)[label]).astype(np.uint8)
                cv2.imwrite(str(folder / split / f'class_{label}' / f'{label}{index}.png'), image)
    path = folder / 'tiny_cls.py'
    path.write_text(
        CONFIG.format(
            model=str(BASES / 'models' / 'classifier.py'),
            runtime=str(BASES / 'cls_runtime.py'),
            data=str(folder),
        )
    )
    return path


def top1(output: str, phase: str) -> str:
    return re.findall(rf'Epoch\({phase}\).*?accuracy/top1: ([\d.]+)', output)[-1]


def test_resume_repeats_the_uninterrupted_run_and_test_its_validation(config, tmp_path):
    train = (TOOLS / 'train.py', tmp_path, config)
    python(*train, '--work-dir', tmp_path / 'whole')
    python(*train, '--work-dir', tmp_path / 'cut', '--cfg-options', 'train_cfg.max_epochs=2')
    resumed = python(*train, '--work-dir', tmp_path / 'cut', '--resume')
    assert 'resumed epoch: 2' in resumed and 'Switch batch augments at epoch 3' in resumed
    whole, cut = (tiny_run.read_diary(tmp_path / name)[0] for name in ('whole', 'cut'))
    assert len(whole) == 12 and whole == cut
    states = [load_checkpoint_file(tmp_path / name / 'epoch_4.pth') for name in ('whole', 'cut')]
    for key in ('state_dict', 'ema_state_dict'):
        assert all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][key][name]))
            for name, value in states[0][key].items()
        )
    tested = python(
        TOOLS / 'test.py',
        tmp_path,
        config,
        tmp_path / 'cut/epoch_4.pth',
        '--work-dir',
        tmp_path / 'test',
    )
    assert top1(tested, 'test') == top1(resumed, 'val')


def test_two_processes_and_mmpretrains_own_tools(config, tmp_path):
    output = shell(
        'dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path / 'two',
        '--cfg-options',
        'train_cfg.max_epochs=2',
    )
    lines = tiny_run.read_diary(tmp_path / 'two')
    assert sorted(lines) == [0, 1] and [len(lines[rank]) for rank in (0, 1)] == [4, 4]
    seen = [name for rank in (0, 1) for line in lines[rank][:2] for name in line['files']]
    assert len(set(seen)) == 12, 'every picture once per epoch'
    assert 'SyncBN is replaced by BN' in output
    tested = python(
        MMPRETRAIN_TOOLS / 'test.py',
        tmp_path,
        config,
        tmp_path / 'two/epoch_2.pth',
        '--work-dir',
        tmp_path / 'test',
        '--cfg-options',
        'model.backbone.norm_cfg.type=BN',
    )
    assert top1(tested, 'test') == top1(output, 'val')


PLAIN = """
_base_ = [{base!r}]
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
model = dict(backbone=dict(norm_eval=True), train_cfg=None)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.5))
train_cfg = dict(max_epochs=2)
custom_hooks = []
"""


#: Runs a tool, and looks for threads of its process group: one that outlives the interpreter may
#: abort the process.
PROBE = """
import pathlib, runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
names = [path.read_text().strip() for path in pathlib.Path('/proc/self/task').glob('*/comm')]
assert not any('gloo' in name for name in names), names
"""


def test_two_processes_compute_what_one_does_with_the_whole_batch(config, tmp_path):
    """The same pictures a step, so the same loss and the same weights; batch norms are fixed, whose
    statistics are local."""
    plain, probe = tmp_path / 'plain.py', tmp_path / 'probe.py'
    plain.write_text(PLAIN.format(base=str(config)))
    probe.write_text(PROBE)
    python(TOOLS / 'train.py', tmp_path, plain, '--work-dir', tmp_path / 'one')
    python(
        probe,
        tmp_path,
        TOOLS / 'train.py',
        plain,
        '--work-dir',
        tmp_path / 'two',
        '--cfg-options',
        'train_dataloader.batch_size=2',
        processes=2,
    )
    one, two = (tiny_run.read_diary(tmp_path / name) for name in ('one', 'two'))
    losses = [float.fromhex(line['loss']) for line in one[0]]
    assert len(losses) == 6 and losses[-1] != losses[0]
    for loss, line, *halves in zip(losses, one[0], two[0], two[1]):
        assert sorted(line['files']) == sorted(halves[0]['files'] + halves[1]['files'])
        assert loss == pytest.approx(
            sum(float.fromhex(half['loss']) for half in halves) / 2, rel=1e-5
        )
    states = [
        load_checkpoint_file(tmp_path / name / 'epoch_2.pth')['state_dict']
        for name in ('one', 'two')
    ]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_pretrained_weights_find_their_place_in_segmentation(config, tmp_path):
    """All of the backbone is loaded; only layer scales, which pre-training has not, are left as
    they are."""
    pytest.importorskip('mmseg')
    from mmseg.registry import MODELS

    python(
        TOOLS / 'train.py',
        tmp_path,
        config,
        '--work-dir',
        tmp_path / 'pretrained',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=6',
    )  # two iterations
    path = tmp_path / 'pretrained' / 'epoch_1.pth'
    cfg = tiny_run.Config.fromfile(tiny_run.ROOT / 'configs' / 'bsa_ade20k.py')
    backbone = cfg.model.backbone.to_dict()
    backbone.update(
        arch=dict(embed_dims=(8, 16, 16, 24), depths=(1, 1), num_heads=2),
        init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='backbone.'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        segmentor = MODELS.build(
            {
                **cfg.model.to_dict(),
                'backbone': backbone,
                'neck': {**cfg.model.neck.to_dict(), 'in_channels': [4, 8, 16, 24]},
            }
        )
        segmentor.init_weights()
    given = {
        key.removeprefix('backbone.'): value
        for key, value in load_checkpoint_file(path)['state_dict'].items()
        if key.startswith('backbone.')
    }
    loaded = segmentor.backbone.state_dict()
    assert set(given) <= set(loaded) and all(
        key.endswith('.scale') for key in set(loaded) - set(given)
    )
    assert all(torch.equal(loaded[key], value) for key, value in given.items())
    assert any(value.any() for key, value in given.items() if key.endswith('running_mean'))
