"""Loading of a trained model, reading of a sample by the config's pipeline, and prediction."""

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
from mmbsa.datasets.transforms import EventsToFrames, LoadEventFrames, LoadEvents
from mmbsa.engine.data_sources import config_parts
from mmbsa.events import as_events
from mmbsa.utils.checkpoint import fit_state, load_checkpoint_file
from mmbsa.utils.launch import fill_in
from mmbsa.utils.types import type_name


def build_model(cfg: Config) -> BaseModel:
    """Build a config's model for inference on any device, without pretrained weights.

    Args:
        cfg: the config; it is not changed.
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
    """Build a config's model with the weights of a checkpoint.

    ``model.dataset_meta`` contains the class names.

    Args:
        cfg: the config.
        checkpoint: path of the checkpoint; it is read with ``weights_only``.
        device: device of the model, ``'cpu'`` by default.

    Raises:
        ValueError: the checkpoint has none of the model's weights.
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
        ('do not exist in the model and are not used, in', unexpected),
    ):
        if keys:
            print_log(
                f'{len(keys)} weights {what} {checkpoint}: {", ".join(keys)}', level=logging.WARNING
            )
    name_classes(model, cfg, saved.get('meta') or {})
    return model.to(device)


def name_classes(model: BaseModel, cfg: Config, meta: dict) -> BaseModel:
    """Set ``model.dataset_meta`` with ``classes`` and ``palette``, and return the model.

    Args:
        model: the model.
        cfg: its config, whose test data set has the class names.
        meta: ``meta`` of its checkpoint, which has priority over the config.
    """
    found = {**_config_meta(cfg), **(meta.get('dataset_meta') or {})}
    model.dataset_meta = found or {
        key.lower(): meta[key] for key in ('CLASSES', 'PALETTE') if key in meta
    }
    classes = model.dataset_meta.setdefault('classes', [str(i) for i in range(_num_classes(model))])
    if len(model.dataset_meta.get('palette') or ()) < len(classes):
        model.dataset_meta['palette'] = (
            np.random.RandomState(42).randint(0, 256, (len(classes), 3)).tolist()
        )
    return model


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


def loads(transform) -> str | None:
    """Return what a pipeline step reads from a file: ``'events'``, ``'picture'``, or None."""
    if isinstance(transform, LoadEvents | LoadEventFrames):
        return 'events'
    return 'picture' if type(transform).__name__.startswith('LoadImage') else None


def take_array(transform, kind: str, data: dict, array: np.ndarray) -> dict:
    """Apply a loading step to an array instead of a file.

    Args:
        transform: the step.
        kind: what the step reads, see :func:`loads`.
        data: the sample so far; it is changed.
        array: a picture, or events.

    Raises:
        ValueError: the array is of another kind, or the sensor size of events is unknown.
    """
    found = 'events' if array.dtype.names else 'picture'
    if found != kind or (kind == 'picture' and array.ndim not in (2, 3)):
        raise ValueError(
            f"{type(transform).__name__}: the config's pipeline reads {kind}, got an array of "
            f'shape {array.shape} and type {array.dtype}'
        )
    if kind == 'picture':
        size = array.shape[:2]
        image = array.astype(np.float32) if getattr(transform, 'to_float32', False) else array
        return {**data, 'img': image, 'img_shape': size, 'ori_shape': size}
    if 'sensor_size' not in data:
        raise ValueError(
            'test_dataloader.dataset: sensor_size=(height, width) is missing, which an array of '
            'events needs'
        )
    data |= dict(events=as_events(array), ori_shape=tuple(data['sensor_size']))
    # a step that loads and integrates: apply the integration only
    return (
        EventsToFrames.transform(transform, data) if isinstance(transform, EventsToFrames) else data
    )


class SampleReader:
    """Reads a file as a config's test pipeline does, without its labels.

    Args:
        cfg: a config with ``test_dataloader.dataset.pipeline`` or ``test_pipeline``.

    Raises:
        ValueError: the config has neither.
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

    def __call__(self, source: str | Path | np.ndarray) -> tuple[dict, np.ndarray]:
        """Return a sample (``inputs``, ``data_samples``) and the loaded data before any change.

        The loaded data is a picture (H, W, C), or event frames (T, P, H, W).

        Args:
            source: path of a file, or an array that replaces its content: a picture as OpenCV reads
                it, (H, W) or (H, W, 3), or events with x, y, t, p.

        Raises:
            ValueError: the pipeline rejects the file, or the array is of another kind.
        """
        array = source if isinstance(source, np.ndarray) else None
        data = dict(img_path='array' if array is not None else str(source))
        if self.frames is not None and self.frames[1] is not None:
            data['sensor_size'] = self.frames[1]
        seen = None
        for transform in self.pipeline.transforms:
            if array is not None and (kind := loads(transform)):
                data = take_array(transform, kind, data, array)
            else:
                data = transform(data)
            if data is None:
                raise ValueError(f'{type(transform).__name__} rejects the sample')
            if seen is None and 'img' in data:
                seen = np.array(data['img'])
        return data, seen

    def size_of_frames(self) -> tuple[int, int] | None:
        """Return (height, width) of the event frames of the pipeline; None for pictures."""
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
    """Return the number of input channels of a model: those of its first convolution.

    Raises:
        ValueError: the model has no convolution and no linear layer.
    """
    for module in getattr(model, 'backbone', model).modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            return module.in_channels
    raise ValueError(
        f'{type(model).__name__}: no convolution, so the number of input channels is unknown'
    )
