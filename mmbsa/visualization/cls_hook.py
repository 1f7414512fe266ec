"""Hook that saves samples of a classifier with label and prediction."""

import math
import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmbsa.registry import HOOKS
from mmbsa.visualization.overlay import titled, write_image
from mmbsa.visualization.pictures import SampleNames, enlarge, frame_sheet, to_picture


@HOOKS.register_module()
class ClsPictureHook(Hook):
    """Save some samples of every validation and test with their label and their prediction.

    It replaces mmpretrain's ``VisualizationHook`` under ``default_hooks.visualization`` and has its
    arguments: ``--show`` and ``--show-dir`` of mmpretrain's ``tools/test.py`` work. It also draws
    event frames (T, P, H, W), grey pictures and sequences, in every process, and writes a separate
    file for every sample.

    Args:
        enable: whether to draw; False by default (``--show`` and ``--show-dir`` set it).
        interval: draw each ``interval``-th sample of a process; 5000 by default.
        show: whether to open a window for each picture; False by default.
        out_dir: folder of the files ``<name>_<epoch or iteration>.png`` (0 in a test); None
            (default) passes pictures to the backends of the visualizer.
        wait_time: seconds for which a window is open; 0 by default.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: str | None = None,
        wait_time: float = 0.0,
    ) -> None:
        if interval < 1:
            raise ValueError(f'mmbsa.ClsPictureHook: interval must be at least 1, got {interval}')
        self.enable, self.interval, self.show, self.out_dir, self.wait_time = (
            enable,
            interval,
            show,
            out_dir,
            wait_time,
        )
        self.seen = 0
        self._names: tuple | None = None  # names of the last dataset

    def before_val_epoch(self, runner: Runner) -> None:
        """Reset the number of samples."""
        self.seen = 0

    before_test_epoch = before_val_epoch

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw samples of a validation batch."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self._draw_batch(
            runner, runner.val_loop, data_batch, outputs, runner.epoch if by_epoch else runner.iter
        )

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw samples of a test batch."""
        self._draw_batch(runner, runner.test_loop, data_batch, outputs, 0)

    def _draw_batch(
        self, runner: Runner, loop: Any, data_batch: dict, outputs: Sequence, step: int
    ) -> None:
        first, self.seen = self.seen, self.seen + len(outputs)
        if not self.enable:
            return
        dataset = loop.dataloader.dataset
        if self._names is None or self._names[0] is not dataset:
            self._names = dataset, SampleNames(dataset)
        names = self._names[1]
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        for number in range(
            math.ceil(first / self.interval) * self.interval, self.seen, self.interval
        ):
            sample = outputs[number - first]
            picture = draw_sample(
                _input(data_batch['inputs'], number - first), sample, classes, _is_bgr(runner.model)
            )
            path = str(sample.get('img_path') or f'sample_{number}')
            if self.out_dir is not None:
                write_image(names.target(self.out_dir, path, f'_{step}.png'), picture)
            else:
                runner.visualizer.add_image(osp.basename(names[path]), picture, step=step)
            if self.show:
                runner.visualizer.show(picture, win_name=names[path], wait_time=self.wait_time)


def _input(inputs: Any, index: int) -> np.ndarray:
    """Return one sample of a batch; with test-time augmentation, its first version."""
    return (
        (inputs[0][index] if isinstance(inputs[0], list | tuple) else inputs[index]).cpu().numpy()
    )


def _is_bgr(model: Any) -> bool:
    """Return whether a model's batches have BGR order, which its preprocessor converts to RGB."""
    model = model.module if is_model_wrapper(model) else model
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    return bool(getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', True)))


def draw_sample(
    inputs: np.ndarray, sample: Any, classes: Sequence[str] | None = None, bgr: bool = True
) -> np.ndarray:
    """Draw a classified sample with its true and its predicted label.

    Args:
        inputs: image (C, H, W), or event frames (T, P, H, W).
        sample: data sample of mmpretrain; ``gt_label``, ``pred_label`` and ``pred_score`` are shown
            if present.
        classes: names of the classes; None (default) shows class numbers.
        bgr: whether the channels of a colour image are in the order BGR, True by default.

    Returns:
        RGB picture, (height, width, 3) uint8.
    """
    picture = (
        frame_sheet(inputs) if inputs.ndim == 4 else to_picture(inputs.transpose(1, 2, 0), bgr)
    )
    picture = enlarge(picture, 224)

    def name(label: int) -> str:
        return classes[label] if classes is not None and label < len(classes) else str(label)

    lines = []
    if 'gt_label' in sample:
        lines.append('is: ' + ', '.join(name(label) for label in sample.gt_label.tolist()))
    if 'pred_label' in sample:
        scores = sample.pred_score.tolist() if 'pred_score' in sample else None
        lines.append(
            'seen as: '
            + ', '.join(
                name(label) + (f' ({scores[label]:.2f})' if scores else '')
                for label in sample.pred_label.tolist()
            )
        )
    for line in reversed(lines):
        picture = titled(picture, line)
    return picture
