"""A trained model, its config's own way of reading a file, and what comes out: for the tools that
look at one sample."""

import logging
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmbsa.datasets.event_sources import SOURCES
from mmbsa.engine.data_sources import config_parts
from mmbsa.utils.checkpoint import fit_state, load_checkpoint_file
from mmbsa.utils.launch import fill_in
from mmbsa.utils.types import type_name


def build_model(cfg: Config) -> BaseModel:
    """Build a config's model for inference on any device, without pretrained weights.

    Args:
        cfg: The config; it is not changed.
    """
    cfg = deepcopy(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    fill_in(cfg)
    for key in ('pretrained', 'train_cfg', 'init_cfg'):
        if key in cfg.model:
            cfg.model[key] = None
    if isinstance(cfg.model.get('backbone'), dict) and 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    return revert_sync_batchnorm(MODELS.build(cfg.model)).eval()


def load_model(cfg: Config, checkpoint: str, device: str = 'cpu') -> BaseModel:
    """Build a config's model with the weights of a checkpoint; ``model.dataset_meta`` names its
    classes.

    Args:
        cfg: The config.
        checkpoint: Path; it is read with ``weights_only``.
        device: Where the model goes.

    Raises:
        ValueError: A checkpoint with none of the model's weights.
    """
    model, saved = build_model(cfg), load_checkpoint_file(checkpoint, 'cpu')
    try:
        missing, unexpected = model.load_state_dict(
            fit_state(saved, model.state_dict()), strict=False
        )
    except KeyError as error:
        raise ValueError(
            f'checkpoint {checkpoint} does not fit the model: {error.args[0]}'
        ) from None
    for what, keys in (
        ('are missing in', missing),
        ('have no place in the model and are not used, in', unexpected),
    ):
        if keys:
            print_log(
                f'{len(keys)} weights {what} {checkpoint}: {", ".join(keys)}', level=logging.WARNING
            )
    meta = saved.get('meta') or {}
    found = {**_config_meta(cfg), **(meta.get('dataset_meta') or {})}
    model.dataset_meta = found or {
        key.lower(): meta[key] for key in ('CLASSES', 'PALETTE') if key in meta
    }
    classes = model.dataset_meta.setdefault('classes', [str(i) for i in range(_num_classes(model))])
    if len(model.dataset_meta.get('palette') or ()) < len(classes):
        model.dataset_meta['palette'] = (
            np.random.RandomState(42).randint(0, 256, (len(classes), 3)).tolist()
        )
    return model.to(device)


def _dataset_cfg(cfg: Config) -> dict:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    return next(config_parts(loader.get('dataset')), {})


def _config_meta(cfg: Config) -> dict:
    dataset = _dataset_cfg(cfg)
    kind = dataset.get('type')
    cls = DATASETS.get(kind) if isinstance(kind, str) else kind
    return {**getattr(cls, 'METAINFO', {}), **(dataset.get('metainfo') or {})}


def _num_classes(model: nn.Module) -> int:
    return max(
        [
            getattr(module, 'num_classes', None) or 1
            for module in model.modules()
            if isinstance(getattr(module, 'num_classes', None), int)
        ],
        default=1,
    )


class SampleReader:
    """Reads a file as a config's test pipeline does, without its labels.

    Args:
        cfg: A config with ``test_dataloader.dataset.pipeline`` or ``test_pipeline``.

    Raises:
        ValueError: It has neither.
    """

    def __init__(self, cfg: Config) -> None:
        dataset = _dataset_cfg(cfg)
        steps = dataset.get('pipeline') or cfg.get('test_pipeline')
        if steps and type_name(steps[0]) == 'DrawScene':  # drawn data sets read no files
            steps = cfg.get('test_pipeline')
        if not steps:
            raise ValueError(
                'the config has neither test_dataloader.dataset.pipeline nor test_pipeline'
            )
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        steps = [step for step in steps if 'Annotation' not in type_name(step)]
        #: (T, (height, width)) of event frames; None for pictures.
        self.frames = self._frames(dataset, steps)
        self.pipeline = Compose(deepcopy(steps))

    @staticmethod
    def _frames(
        dataset: dict, steps: list[dict]
    ) -> tuple[int | None, tuple[int, int] | None] | None:
        chosen = [
            step for step in steps if type_name(step) in ('LoadEventFrames', 'EventsToFrames')
        ]
        if not chosen:
            return None
        source = SOURCES.get(dataset.get('reader'))
        size = dataset.get('sensor_size') or (source.size if source else None)
        return chosen[0].get('num_frames', 16), tuple(size) if size else None

    def __call__(self, path: str | Path) -> tuple[dict, np.ndarray]:
        """Return a sample (``inputs``, ``data_samples``) and what was read, before it was changed:
        (H, W, C), (T, P, H, W).

        Raises:
            ValueError: A file without a sample.
        """
        data = dict(img_path=str(path))
        if self.frames is not None and self.frames[1] is not None:
            data['sensor_size'] = self.frames[1]
        seen = None
        for transform in self.pipeline.transforms:
            data = transform(data)
            if data is None:
                raise ValueError(f'{type(transform).__name__} leaves the sample out')
            if seen is None and 'img' in data:
                seen = np.array(data['img'])
        return data, seen

    def size_of_frames(self) -> tuple[int, int] | None:
        """Return (height, width) of the event frames that the pipeline makes; None for pictures."""
        if self.frames is None:
            return None
        sizes = [
            transform.size
            for transform in self.pipeline.transforms
            if getattr(transform, 'size', None) is not None and hasattr(transform, 'num_frames')
        ]
        return tuple(sizes[0]) if sizes else self.frames[1]


def predict(model: BaseModel, sample: dict):
    """Return the model's data sample for one sample of a :class:`SampleReader`."""
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    with torch.no_grad():
        return model.test_step(batch)[0]


def in_channels(model: nn.Module) -> int:
    """Return the channels that a model's backbone takes: those of its first convolution.

    Raises:
        ValueError: There is no convolution and no linear layer.
    """
    for module in getattr(model, 'backbone', model).modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return module.in_channels
    raise ValueError(
        f'{type(model).__name__}: no convolution tells how many channels the model takes'
    )
