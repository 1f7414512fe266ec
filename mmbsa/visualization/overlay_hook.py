"""Hooks that save samples with ground truth and prediction during validation and testing."""

import os.path as osp
from collections.abc import Sequence

import cv2
import numpy as np
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData

from mmbsa.registry import HOOKS
from mmbsa.visualization.instances import Instances, instances_side_by_side, spread_palette
from mmbsa.visualization.overlay import side_by_side, write_image
from mmbsa.visualization.pictures import SampleNames, to_picture


class OverlayHook(Hook):
    """Save image, ground truth and prediction of some samples of every validation and test.

    It replaces the visualization hook of an mm package under ``default_hooks.visualization``:
    ``--show`` and ``--show-dir`` of its ``tools/test.py`` work. The image comes from the batch and
    not from its file, so that datasets without files can be drawn too. Pictures are written to
    ``<out_dir>/val_iter_<iteration>/`` and ``<out_dir>/test/``, in subfolders if files of the
    dataset have the same name. Files of the dataset are never overwritten.

    Args:
        draw: whether to draw; True by default (``--show`` and ``--show-dir`` set it too).
        interval: draw each ``interval``-th batch of an evaluation; 1 by default.
        max_images: largest number of pictures per evaluation, over all processes; 8 by default,
            None for no limit. ``--show-dir`` removes the limit of a test.
        out_dir: output folder; None (default) uses ``--show-dir`` if given, else
            ``<work_dir>/overlays``.
        opacity: weight of the colours over the image, 0 to 1; 0.6 by default.
        show: whether to open a window for each picture; False by default.
        wait_time: seconds for which a window is open; 0 by default.

    Raises:
        ValueError: an argument is out of range.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        draw: bool = True,
        interval: int = 1,
        max_images: int | None = 8,
        out_dir: str | None = None,
        opacity: float = 0.6,
        show: bool = False,
        wait_time: float = 0.0,
    ) -> None:
        if interval < 1 or (max_images is not None and max_images < 1):
            raise ValueError(
                f'mmbsa.{type(self).__name__}: interval and max_images must be at least 1, '
                f'got interval={interval}, max_images={max_images}'
            )
        if not 0 <= opacity <= 1:
            raise ValueError(
                f'mmbsa.{type(self).__name__}: opacity must be between 0 and 1, got {opacity}'
            )
        self.draw, self.interval, self.max_images = draw, interval, max_images
        self.out_dir, self.opacity, self.show, self.wait_time = out_dir, opacity, show, wait_time
        self.drawn = 0
        self._names: tuple | None = None  # names of the last dataset

    def before_val_epoch(self, runner: Runner) -> None:
        """Reset the number of pictures."""
        self.drawn = 0

    before_test_epoch = before_val_epoch

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw samples of a validation batch."""
        self._draw_batch(
            runner,
            runner.val_loop,
            batch_idx,
            data_batch,
            outputs,
            f'val_iter_{runner.iter:06d}',
            self.max_images,
        )

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw samples of a test batch."""
        limit = None if self._show_dir(runner) else self.max_images
        self._draw_batch(runner, runner.test_loop, batch_idx, data_batch, outputs, 'test', limit)

    def picture(self, batch: dict, index: int, sample: BaseDataElement, meta: dict) -> np.ndarray:
        """Draw one sample as panels side by side. Subclasses define it.

        Args:
            batch: the batch of the data loader.
            index: position of the sample in the batch.
            sample: the sample with its prediction.
            meta: ``metainfo`` of the dataset, with the names of the classes.

        Returns:
            RGB picture, (height, width, 3) uint8.
        """
        raise NotImplementedError(f'{type(self).__name__} must define picture')

    @staticmethod
    def _show_dir(runner: Runner) -> str | None:
        """Return the folder that ``tools/test.py --show-dir`` writes into the config."""
        return (runner.cfg.get('visualizer') or {}).get('save_dir')

    def _draw_batch(self, runner, loop, batch_idx, data_batch, outputs, folder, limit) -> None:
        if not self.draw or batch_idx % self.interval:
            return
        root = self.out_dir or self._show_dir(runner) or osp.join(runner.work_dir, 'overlays')
        own_limit = float('inf') if limit is None else -(-limit // get_world_size())
        meta = (
            loop.dataloader.dataset.metainfo
        )  # mmseg's visualizer stores it in the main process only
        if self._names is None or self._names[0] is not loop.dataloader.dataset:
            self._names = loop.dataloader.dataset, SampleNames(loop.dataloader.dataset)
        names = self._names[1]
        for index, sample in enumerate(outputs):
            if self.drawn >= own_limit:
                return
            picture = self.picture(data_batch, index, sample, meta)
            write_image(names.target(osp.join(root, folder), sample.img_path, '.png'), picture)
            self.drawn += 1
            if self.show:
                runner.visualizer.show(
                    picture, win_name=names[sample.img_path], wait_time=self.wait_time
                )


@HOOKS.register_module()
class SegOverlayHook(OverlayHook):
    """Save label maps over the image; arguments are those of :class:`OverlayHook`."""

    def picture(self, batch: dict, index: int, sample: BaseDataElement, meta: dict) -> np.ndarray:
        """Draw the label maps of one sample, see :meth:`OverlayHook.picture`."""
        maps = {'prediction': label_map(sample.pred_sem_seg)}
        if 'gt_sem_seg' in sample:
            maps = {'ground truth': label_map(sample.gt_sem_seg), **maps}
        image = input_image(batch, index, maps['prediction'].shape)
        return side_by_side(image, maps, meta['classes'], meta['palette'], self.opacity)


@HOOKS.register_module()
class DetOverlayHook(OverlayHook):
    """Save boxes and masks over the image.

    The pipeline must load the ground truth after resizing, as mmdet's pipelines do.

    Args:
        args, kwargs: arguments of :class:`OverlayHook`.
        score_thr: predictions with a lower score are not drawn; 0.3 by default.

    Raises:
        ValueError: the threshold is outside of 0..1.
    """

    def __init__(self, *args, score_thr: float = 0.3, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= score_thr <= 1:
            raise ValueError(
                f'mmbsa.DetOverlayHook: score_thr must be between 0 and 1, got {score_thr}'
            )
        self.score_thr = score_thr

    def picture(self, batch: dict, index: int, sample: BaseDataElement, meta: dict) -> np.ndarray:
        """Draw the instances of one sample, see :meth:`OverlayHook.picture`."""
        found = {'prediction': to_instances(sample.pred_instances).above(self.score_thr)}
        if 'gt_instances' in sample:
            found = {'ground truth': to_instances(sample.gt_instances), **found}
        palette = meta.get('palette') or spread_palette(len(meta['classes']))
        image = input_image(batch, index, sample.ori_shape)
        return instances_side_by_side(image, found, meta['classes'], palette, self.opacity)


def to_instances(data: InstanceData) -> Instances:
    """Return mmdet's instances as arrays; masks may be tensors or mmdet's bitmaps."""
    masks = data.get('masks')
    if masks is not None:
        masks = (masks.cpu().numpy() if hasattr(masks, 'cpu') else masks.to_ndarray()).astype(bool)
    boxes = getattr(data.bboxes, 'tensor', data.bboxes)
    scores = data.get('scores')
    return Instances(
        boxes.detach().cpu().numpy().reshape(-1, 4),
        data.labels.cpu().numpy(),
        None if scores is None else scores.detach().cpu().numpy(),
        masks,
    )


def label_map(data) -> np.ndarray:
    """Return the labels (H, W) of the ``PixelData`` of a segmentation, (1, H, W) on any device."""
    return data.data.squeeze(0).cpu().numpy().astype(np.int64)


def input_image(data_batch: dict, index: int, size: tuple[int, int]) -> np.ndarray:
    """Return a sample's image from its batch, RGB uint8 (H, W, 3), resized to ``size``.

    Batches contain images in the loaded form: BGR, grey or with other channels, not normalised,
    (C, h, w), or event frames (T, P, h, w). With test-time augmentation they are lists of augmented
    batches, of which the largest image that is not flipped is used.

    Args:
        data_batch: the batch of the data loader.
        index: position of the sample in the batch.
        size: (height, width) of the result in pixels.
    """
    inputs, samples = data_batch['inputs'], data_batch['data_samples']
    if isinstance(inputs[0], (list, tuple)):
        upright = [
            aug[index]
            for aug, group in zip(inputs, samples)
            if not group[index].metainfo.get('flip')
        ]
        chosen = max(upright or [aug[index] for aug in inputs], key=lambda image: image.numel())
    else:
        chosen = inputs[index]
    image = chosen.cpu().numpy()
    image = to_picture(image if image.ndim == 4 else image.transpose(1, 2, 0))
    if image.shape[:2] != tuple(size):
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image
