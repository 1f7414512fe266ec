"""Datasets of the tracking benchmarks FE108, FELT, VisEvent, COESOT, and of folders of frames."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmbsa.datasets.tracking.base import BaseTrackingDataset
from mmbsa.datasets.tracking.layouts import (
    PRESENT_IS,
    Annotation,
    FrameFiles,
    get_layout,
    listed,
    read_annotation,
    split_folder,
)
from mmbsa.registry import DATASETS
from mmbsa.structures import FrameSequence

#: largest side of a box relative to the longer side of the picture; crops of a larger one would
#: fill the memory.
LARGEST_BOX = 4


@DATASETS.register_module()
class TrackingDataset(BaseTrackingDataset):
    """A tracking benchmark of prepared event frames on disk.

    Layouts; a sequence folder SEQ has an annotation file and frames:

    * ``'FE108'``: ``train|test/SEQ/groundtruth_rect.txt``, ``inter{T}_stack_3008/0001_1.png`` to
      ``0001_T.png``;
    * ``'VisEvent'`` and ``'FELT'``: ``train|test/SEQ/groundtruth.txt``,
      ``inter{T}_stack_3008/0000_1.png``;
    * ``'COESOT'``: ``train|test/SEQ/groundtruth.txt``, ``SEQ_dvs/frame0000.png`` (or ``.bmp``);
    * ``'COESOT-spike'``: ``training_subset|testing_subset/SEQ/groundtruth.txt``,
      ``spike_.../0000.png``;
    * ``'frames'``: ``SEQ/groundtruth_rect.txt``, ``img/0001.png``.

    Row 0 of the annotation is for frame number 0; in FE108 and ``'frames'`` it is for number 1.
    Every row needs a frame. Frames after the last row are not used in FE108, VisEvent and FELT, and
    are an error in the other layouts. SEQ may have ``absent.txt`` with a 0 or 1 per row.

    Args:
        layout: name of a layout.
        data_root: folder that contains the splits.
        split: ``'train'`` (default), ``'test'``, and for COESOT ``'val'``, which needs
            ``train/list.txt`` and ``train/val.txt``.
        num_steps: number of sub-frames T per frame: 1 (default), 2 or 4.
        sequences: names, or a text file with one name per line; None (default) uses the list of the
            benchmark if it exists, otherwise every annotated folder.
        toolkit: folder of an evaluation toolkit with ``absent/`` and ``att/`` (and optionally
            ``gt_rect/``); None by default.
        img_shape: required (height, width) of the frames in pixels; None (default) accepts any.
        modality: ``'dvs'`` (default) or ``'aps'``, for COESOT only.
        absent: what 1 means in ``absent.txt`` (``absent/NAME.txt`` of a toolkit), ``'absent'`` or
            ``'present'``. None (default) is ``'present'`` for ``absent.txt`` of COESOT, otherwise
            ``'absent'``; then a sequence with more than half of its frames absent gives a warning.
        kwargs: arguments of :class:`BaseTrackingDataset`.

    Raises:
        FileNotFoundError: a folder, annotation, list or frame is missing; the message names it.
        ValueError: files do not match each other, a list is empty, frames have another size, or a
            box cannot be used: a value is infinite, a side is longer than 4 times the longer side
            of the picture, or, in training, a value is NaN (in tests the rules of the metric decide
            about NaN).
    """

    METAINFO = dict(classes=('target',))

    def __init__(
        self,
        layout: str,
        data_root: str,
        split: str = 'train',
        num_steps: int = 1,
        sequences: Sequence[str] | str | None = None,
        toolkit: str | None = None,
        img_shape: Sequence[int] | None = None,
        modality: str = 'dvs',
        absent: str | None = None,
        **kwargs,
    ):
        get_layout(layout)
        if absent is not None and absent not in PRESENT_IS:
            raise ValueError(f"absent must be None, 'absent' or 'present', got {absent!r}")
        if modality not in ('dvs', 'aps'):
            raise ValueError(f"modality must be 'dvs' or 'aps', got {modality!r}")
        if num_steps < 1:
            raise ValueError(f'num_steps must be positive, got {num_steps}')
        self.layout, self.split, self.num_steps, self.sequences = (
            layout,
            split,
            num_steps,
            sequences,
        )
        self.toolkit, self.modality, self.absent = toolkit, modality, absent
        self.img_shape = None if img_shape is None else tuple(img_shape)
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read every annotation, and check the boxes and frame files of every sequence."""
        folder = split_folder(self.layout, self.data_root, self.split)
        infos = []
        for name in listed(self.sequences, self.layout, self.data_root, self.split):
            found = read_annotation(
                self.layout, self.data_root, self.split, name, self.toolkit, self.absent
            )
            files = FrameFiles(
                self.layout, os.path.join(folder, name), self.num_steps, self.modality
            )
            size = files.check(len(found.boxes))
            if self.img_shape is not None and size != self.img_shape:
                raise ValueError(
                    f'{files.path(0)}: the frame is {size[0]} x {size[1]} (height x width), '
                    f'expected img_shape={self.img_shape}'
                )
            self._check_boxes(found, name, size)
            infos.append(
                dict(
                    sequence=name,
                    frames=FrameSequence(
                        FrameFiles.read, replace(files, size=size), len(found.boxes)
                    ),
                    img_shape=size,
                    late_start=get_layout(self.layout).late_start,
                    gt_boxes=found.boxes,
                    absent=found.absent,
                    attributes=found.attributes,
                )
            )
        return infos

    def _check_boxes(self, found: Annotation, name: str, size: tuple[int, int]) -> None:
        """Raise ValueError for a box that cannot be used; ``size`` is (height, width) of frames."""
        allowed, boxes = LARGEST_BOX * max(size), found.boxes
        bad = np.isinf(boxes).any(1) | (boxes[:, 2:] > allowed).any(1)
        if not self.test_mode:
            bad |= np.isnan(boxes).any(1)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f'{found.file}, row {row} (from 0) of sequence {name}: the box '
                f'{boxes[row].tolist()} (x, y, w, h) cannot be used; expected numbers with w and h '
                f'of at most {allowed} pixels, {LARGEST_BOX} times the longer side of the frame'
            )
