"""Damaged configs and lists of annotations for :mod:`campaign_inputs`."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damaged_bytes import damage

BACKBONES = ('ESpikeFormer', 'Spikingformer', 'QKFormer', 'MetaSpikeFormer')
#: values that are valid for no, or almost no, key of a backbone.
WRONG = (None, -1, 0, 1e9, 'text', [], {}, (1,), float('nan'), True, {'type': 'mmbsa.Nothing'}, 3.5)
CONFIG = """
model = dict(
    backbone=dict(
        type='mmbsa.{name}',
        arch={arch},
        neuron=dict(type='mmbsa.LIFNode', tau=2.0, surrogate_function=dict(type='ATan')),
        attention=dict(type='mmbsa.BipolarSelfAttention', ternary=dict(v_threshold=0.5)),
        num_steps=2,
    ),
    widths=[8, 16],
)
"""


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the paths of all values in a config."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield (*path, key)
            yield from leaves(one, (*path, key))


def mutate(cfg: dict, rng: np.random.Generator) -> tuple[dict, tuple[str, ...]]:
    """Return a config with one mistake, and words of which an error must contain one."""
    cfg = deepcopy(cfg)
    paths = [path for path in leaves(cfg) if path != ('type',)]
    *parents, key = paths[rng.integers(len(paths))]
    part = cfg
    for parent in parents:
        part = part[parent]
    kind, words = rng.integers(4), [str(key), *map(str, parents[-1:])]
    if kind == 0:
        del part[key]
    elif kind == 1:
        place = int(rng.integers(len(key)))
        wrong = key[:place] + 'q' + key[place + 1 :]
        part[wrong] = part.pop(key)
        words.append(wrong)
    elif kind == 2 and isinstance(part[key], int | float | tuple | list):
        value = part[key]
        part[key] = value * 3 if isinstance(value, tuple | list) else -value
    else:
        part[key] = WRONG[rng.integers(len(WRONG))]
    return cfg, tuple(words)


class Texts:
    """Writes a damaged text to a file, and returns the words and the function to run.

    Args:
        whole: folder with ``a.jpg`` and ``a.png``, a photo and its labels.
    """

    def __init__(self, whole: Path) -> None:
        from mmbsa.registry import MODELS

        self.whole, self.build = whole, MODELS.build
        self.archs = {name: dict(MODELS.get(f'mmbsa.{name}').small_arch) for name in BACKBONES}

    def config(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        """Build and run a backbone with one mistake in its config."""
        name = BACKBONES[rng.integers(len(BACKBONES))]
        cfg = dict(
            type=f'mmbsa.{name}',
            arch=self.archs[name],
            neuron=dict(type='mmbsa.LIFNode', tau=2.0, surrogate_function=dict(type='ATan')),
            attention=dict(type='mmbsa.BipolarSelfAttention', ternary=dict(v_threshold=0.5)),
            num_steps=2,
            readout='mean',
        )
        cfg, words = mutate(cfg, rng)

        def run() -> None:
            model = self.build(cfg).eval()
            with torch.no_grad():
                model(torch.zeros(1, 3, 32, 32))

        return words, run

    def config_file(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        """Read a damaged config file."""
        from mmbsa.utils.launch import read_config

        path = stem.with_suffix('.py')
        name = BACKBONES[rng.integers(len(BACKBONES))]
        path.write_bytes(damage(CONFIG.format(name=name, arch=self.archs[name]).encode(), rng))
        return (path.name,), lambda: read_config(path)

    def annotations(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        """Read a damaged list of photos, of classes, of boxes, or a JSON of COCO."""
        kinds = ('_split', '_classes', '_boxes', '_coco')
        return getattr(self, kinds[rng.integers(len(kinds))])(rng, stem)

    def _dataset(self, path: Path, cfg: dict) -> tuple[tuple[str, ...], Callable]:
        """Build a dataset as a runner does, and describe its samples."""
        from mmengine.registry import DATASETS

        from mmbsa.engine.data_sources import explain, missing_files
        from mmbsa.utils.errors import DataError

        def run() -> None:
            try:
                data = DATASETS.build(cfg)
            except Exception as error:
                raise explain('train_dataloader', dict(dataset=cfg), error) or error from None
            if not len(data):
                raise DataError(f'{path.name} lists nothing')
            missing = missing_files(data)
            if missing:
                raise DataError(f'missing: {missing[0]}')

        return (path.name, str(self.whole)), run

    def _split(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        path = stem.with_suffix('.txt')
        path.write_bytes(damage(b'a\n' * 20, rng))
        cfg = dict(
            type='mmseg.BaseSegDataset',
            ann_file=str(path),
            metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]]),
            data_prefix=dict(img_path=str(self.whole), seg_map_path=str(self.whole)),
            pipeline=[dict(type='LoadImageFromFile')],
        )
        return self._dataset(path, cfg)

    def _classes(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        path = stem.with_suffix('.txt')
        path.write_bytes(damage(b'a.jpg 0\na.png 1\n' * 10, rng))
        cfg = dict(
            type='mmpretrain.CustomDataset',
            ann_file=str(path),
            data_prefix=str(self.whole),
            metainfo=dict(classes=('a', 'b')),
            pipeline=[dict(type='LoadImageFromFile')],
        )
        return self._dataset(path, cfg)

    def _coco(self, rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        path = stem.with_suffix('.json')
        boxes = [
            dict(id=i, image_id=1, category_id=1, bbox=[1, 2, 9, 8], area=72, iscrowd=0)
            for i in range(3)
        ]
        content = dict(
            images=[dict(id=1, file_name='a.jpg', width=40, height=30)],
            annotations=boxes,
            categories=[dict(id=1, name='a')],
        )
        path.write_bytes(damage(json.dumps(content).encode(), rng))
        cfg = dict(
            type='mmdet.CocoDataset',
            ann_file=str(path),
            data_prefix=dict(img=str(self.whole)),
            metainfo=dict(classes=('a',)),
            pipeline=[dict(type='LoadImageFromFile')],
        )
        return self._dataset(path, cfg)

    @staticmethod
    def _boxes(rng: np.random.Generator, stem: Path) -> tuple[tuple[str, ...], Callable]:
        from mmbsa.structures.track_files import read_rows

        path = stem.with_suffix('.txt')
        path.write_bytes(damage(b'10,20,30,40\n' * 15, rng))
        return (path.name,), lambda: read_rows(path, 4)
