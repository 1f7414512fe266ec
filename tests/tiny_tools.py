"""Untrained models with their configs and data, for tests of the tools: a grey segmentor, and a
classifier of events."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import tiny_data
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[1]
GREY = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.], std=[60.]),
    backbone=dict(type='mmbsa.Spikingformer', arch=dict(embed_dims=16, depth=1, num_heads=2,
        pooling='0111',
                  in_channels=1), attention=dict(type='mmbsa.BipolarSelfAttention'),
                      out_indices=(-1, )),
    neck=dict(type='mmbsa.TemporalReadout'),
    decode_head=dict(type='FCNHead', in_channels=16, in_index=0, channels=8, num_convs=1,
        num_classes=3,
                     norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackSegInputs')]
"""
EVENTS = """
_base_ = [{base!r} + name for name in ('models/classifier.py', 'cls_runtime.py')]
data_preprocessor = dict(type='mmbsa.EventDataPreprocessor', num_classes=2)
model = dict(
    backbone=dict(type='mmbsa.Spikingformer', arch=dict(embed_dims=16, depth=1, num_heads=2,
        pooling='0111',
                  in_channels=2), num_steps=4, out_indices=(-1, )),
    head=dict(num_classes=2))
pipeline = [dict(type='mmbsa.LoadEventFrames', num_frames=4, by='number'), dict(type='PackInputs')]
test_dataloader = dict(
    batch_size=3, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmbsa.EventDataset', reader='folders', sensor_size=(20, 24),
        data_root={data!r}, split='test',
                 pipeline=pipeline))
test_evaluator = dict(type='Accuracy', topk=(1, ))
test_cfg = dict()
default_hooks = dict(checkpoint=dict(interval=1))
"""


def save_weights(config: Path, **meta) -> Path:
    """Write seeded weights of a config's model beside it."""
    from mmbsa.apis.inference import build_model

    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    path = config.with_suffix('.pth')
    torch.save(dict(meta=meta, state_dict=build_model(cfg).state_dict()), path)
    return path


def grey_segmentor(folder: Path) -> tuple[str, str]:
    """Write config and weights of a segmentor of grey pictures."""
    config = folder / 'grey.py'
    config.write_text(GREY)
    meta = dict(classes=('a', 'b', 'c'), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    return str(config), str(save_weights(config, dataset_meta=meta))


def event_classifier(folder: Path) -> tuple[str, str]:
    """Write config, weights and 6 recordings of two classes with the same file names; test
    split."""
    for seed, name in enumerate(('left', 'right')):
        for index in range(3):
            tiny_data.write_npz(
                folder / 'data' / 'test' / name / f'0{index}.npz', (20, 24), 200, 3 * seed + index
            )
    config = folder / 'events.py'
    config.write_text(
        EVENTS.format(base=str(ROOT / 'configs' / '_base_') + '/', data=str(folder / 'data'))
    )
    return str(config), str(save_weights(config))


def photo(path: Path, size=(50, 70)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def run_tool(name: str, monkeypatch, *args: str) -> dict:
    """Run a tool's main in this process, as from the command line; return its module's content."""
    monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
    return runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
