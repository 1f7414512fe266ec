"""FE108, FELT, VisEvent, COESOT, and folders of frames."""

import os
from collections.abc import Sequence

from mmbsa.datasets.tracking.base import BaseTrackingDataset
from mmbsa.datasets.tracking.layouts import (
    FrameFiles,
    get_layout,
    listed,
    read_annotation,
    split_folder,
)
from mmbsa.registry import DATASETS
from mmbsa.structures import FrameSequence


@DATASETS.register_module()
class TrackingDataset(BaseTrackingDataset):
    """A tracking benchmark of prepared event frames on disk.

    Layouts (row 0 of the annotation belongs to frame number 0, in FE108 and ``frames`` to number
    1)::

        FE108     train|test/SEQ/groundtruth_rect.txt   SEQ/inter{T}_stack_3008/0001_1.png ..
        0001_T.png VisEvent  train|test/SEQ/groundtruth.txt
        SEQ/inter{T}_stack_3008/0000_1.png FELT      train|test/SEQ/groundtruth.txt
        SEQ/inter{T}_stack_3008/0000_1.png COESOT    train|test/SEQ/groundtruth.txt
        SEQ/SEQ_dvs/frame0000.png (or .bmp) COESOT-spike
        training_subset|testing_subset/SEQ/groundtruth.txt  SEQ/spike_.../0000.png frames
        SEQ/groundtruth_rect.txt              SEQ/img/0001.png

    Args:
        layout: one of these.
        data_root: folder that holds the splits.
        split: ``'train'``, ``'test'``, and for COESOT ``'val'``.
        num_steps: T, sub-frames per frame: 1, 2 or 4 stacks.
        sequences: names, or a text file with one name per line; None: the benchmark's list if it is
            there, else every annotated folder.
        toolkit: folder of an evaluation toolkit with ``absent/`` and ``att/`` (and maybe
            ``gt_rect/``).
        img_shape: (height, width) that the frames must have; None takes any.
        modality: ``'dvs'`` or ``'aps'``, COESOT only.
        kwargs: see :class:`BaseTrackingDataset`.

    Raises:
        FileNotFoundError: a missing folder, annotation, or first or last frame; the file is named.
        ValueError: files that do not fit each other, or frames of another size.
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
        **kwargs,
    ):
        get_layout(layout)
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
        self.toolkit, self.modality = toolkit, modality
        self.img_shape = None if img_shape is None else tuple(img_shape)
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read every annotation, and look at the first and last frame of every sequence."""
        folder = split_folder(self.layout, self.data_root, self.split)
        infos = []
        for name in listed(self.sequences, self.layout, self.data_root, self.split):
            found = read_annotation(self.layout, self.data_root, self.split, name, self.toolkit)
            files = FrameFiles(
                self.layout, os.path.join(folder, name), self.num_steps, self.modality
            )
            size = files.check(len(found.boxes))
            if self.img_shape is not None and size != self.img_shape:
                raise ValueError(
                    f'{files.path(0)}: the frame is {size[0]} x {size[1]} (height x width), '
                    f'img_shape={self.img_shape} was asked for'
                )
            infos.append(
                dict(
                    sequence=name,
                    frames=FrameSequence(FrameFiles.read, files, len(found.boxes)),
                    gt_boxes=found.boxes,
                    absent=found.absent,
                    attributes=found.attributes,
                )
            )
        return infos
