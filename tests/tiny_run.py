"""A segmentation run of seconds, for tests of the machinery around training: folder, config, and a
diary of its loss."""

import faulthandler
import json
import multiprocessing
import os
import random
import runpy
import sys
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / 'configs' / '_base_' / 'default_runtime.py'
CLASSES = ('left', 'right', 'stripe')

TEMPLATE = """
_base_ = {runtime!r}
custom_imports = dict(imports=['tiny_run'], allow_failed_imports=False)
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[127.5] * 3, std=[60.0] * 3, bgr_to_rgb=True, pad_val=0,
        seg_pad_val=255, size=(32, 32)),
    backbone=dict(
        type='ResNet', depth=18, base_channels=4, num_stages=2, strides=(1, 1), dilations=(1, 1),
        out_indices=(0, 1), norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead', in_channels=8, in_index=1, channels=4, num_convs=1, dropout_ratio=0.3,
        num_classes=3, norm_cfg=norm_cfg),
    auxiliary_head=dict(
        type='FCNHead', in_channels=4, in_index=0, channels=4, num_convs=0, concat_input=False,
        num_classes=3, norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
    test_cfg=dict(mode='whole'))
metainfo = dict(classes={classes!r}, palette=[[0, 0, 0], [0, 255, 0], [255, 0, 0]])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(32, 32)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
        [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]]),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset', data_root={root!r}, metainfo=metainfo, pipeline=train_pipeline,
        data_prefix=dict(img_path='img/train', seg_map_path='ann/train')))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset', data_root={root!r}, metainfo=metainfo, pipeline=test_pipeline,
        test_mode=True, data_prefix=dict(img_path='img/val', seg_map_path='ann/val')))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01))
param_scheduler = [dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=40)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
randomness = dict(seed=3)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=3, max_keep_ckpts=2),
    diary=dict(type='DiaryHook'))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
"""


# mmengine formats the config for every checkpoint, which takes longer than all iterations of a tiny
# run
Config.pretty_text = property(
    lambda self: ''.join(f'{key} = {value!r}\n' for key, value in self.to_dict().items())
)


def write_dataset(root: Path, images: int = 11, size: int = 40) -> None:
    """Write ``images`` training and 3 validation pairs (JPEG, PNG) with labels 0, 1, 2 and some
    void (255)."""
    rng = np.random.default_rng(0)
    for split, number in (('train', images), ('val', 3)):
        for kind in ('img', 'ann'):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            labels = np.zeros((size, size), np.uint8)
            labels[:, rng.integers(10, 30) :] = 1
            labels[rng.integers(5, 20) : 25] = 2
            labels[:2] = 255
            image = (labels[..., None] * [60, 30, 90] + rng.integers(0, 60, (size, size, 3))).clip(
                0, 255
            )
            cv2.imwrite(str(root / 'img' / split / f'{index:02d}.jpg'), image.astype(np.uint8))
            cv2.imwrite(str(root / 'ann' / split / f'{index:02d}.png'), labels)


def write_config(folder: Path) -> Path:
    """Write the dataset and a config of a run on it; return the config's path."""
    write_dataset(folder / 'data')
    path = folder / 'tiny.py'
    path.write_text(
        TEMPLATE.format(runtime=str(RUNTIME), root=str(folder / 'data'), classes=CLASSES)
    )
    return path


def load(config: Path, work_dir: Path, **options) -> Config:
    """Read a config for this process: ``options`` are dotted keys with ``__`` for the dots."""
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = (
        uuid.uuid4().hex
    )  # mmengine's has seconds, which a tiny run may share with the one before
    cfg.merge_from_dict({key.replace('__', '.'): deepcopy(value) for key, value in options.items()})
    return cfg


def train(config: Path, work_dir: Path, **options) -> None:
    """Train in this process, on one thread."""
    torch.set_num_threads(1)
    Runner.from_cfg(load(config, work_dir, **options)).train()


def start(target: Callable, *args, **kwargs) -> BaseProcess:
    """Start a function in a process of its own, forked from a server that has everything
    imported."""
    here = str(Path(__file__).parent)
    if here not in os.environ.get('PYTHONPATH', '').split(os.pathsep):
        os.environ['PYTHONPATH'] = os.pathsep.join(
            filter(None, [here, str(ROOT), os.environ.get('PYTHONPATH')])
        )
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['tiny_run', 'mmseg.apis', 'mmbsa.engine'])
    process = context.Process(target=target, args=args, kwargs=kwargs)
    process.start()
    return process


def finish(*processes: BaseProcess, seconds: float = 900) -> list[int]:
    """Wait for processes and return their exit codes."""
    until = time.monotonic() + seconds
    for process in processes:
        process.join(until - time.monotonic())
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    if late:
        raise TimeoutError(
            f'{len(late)} of {len(processes)} processes did not end within {seconds} s'
        )
    return [process.exitcode for process in processes]


def kill_when(
    process: BaseProcess, condition: Callable[[], bool], pause: float = 0, seconds: float = 600
) -> None:
    """SIGKILL a process ``pause`` seconds after a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), (
            f'the process ended with {process.exitcode} before it could be killed'
        )
        assert time.monotonic() < until, f'the process did not get there within {seconds} s'
        time.sleep(0.002)
    time.sleep(pause)
    process.kill()
    process.join()


def run_script(script: str, log: str, *args: str, **env: str) -> None:
    """Run a Python script as ``python script args`` would, with its output in a file."""
    os.environ.update(env)
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.dump_traceback_later(200)  # where it hangs, should it hang
    torch.set_num_threads(1)
    sys.argv = [script, *args]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name='__main__')


def read_diary(work_dir: Path) -> dict[int, list[dict]]:
    """Return, by process, what every iteration saw and gave; an iteration repeated after a resume
    counts once more."""
    diary = {}
    for path in sorted(Path(work_dir).glob('diary_*.jsonl')):
        diary[int(path.stem.split('_')[1])] = [
            json.loads(line) for line in path.read_text().splitlines()
        ]
    return diary


@HOOKS.register_module(force=True)
class DiaryHook(Hook):
    """Note iteration, exact loss, files, and the next random numbers of every iteration, one file
    per process."""

    priority = 'NORMAL'  # before the checkpoint, which may never be finished

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        draws = [random.random(), np.random.rand(), torch.rand(()).item()]
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        line = dict(
            iter=runner.iter + 1,
            loss=outputs['loss'].item().hex(),
            draws=[draw.hex() for draw in draws],
            files=[os.path.basename(sample.img_path) for sample in data_batch['data_samples']],
            pixels=sum(int(image.sum()) for image in data_batch['inputs']),
        )
        with open(os.path.join(runner.work_dir, f'diary_{runner.rank}.jsonl'), 'a') as file:
            file.write(json.dumps(line) + '\n')


@MODELS.register_module(force=True)
class NaNLoss(torch.nn.Module):
    """A loss that is NaN in the second process only."""

    loss_name = 'loss_ce'

    def forward(self, logits, labels, **kwargs):
        return logits.mean() * (float('nan') if get_rank() == 1 else 1)
