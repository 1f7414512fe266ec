"""Datasets for the classification of event recordings."""

import math
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import barrier, is_main_process

from mmbsa.datasets.classification import ClassificationDataset, class_folders
from mmbsa.datasets.event_files import ENDINGS, recordings
from mmbsa.datasets.event_sources import SERVICE, SOURCES, EventSource, find_folder, prepare
from mmbsa.registry import DATASETS


@DATASETS.register_module()
class EventDataset(ClassificationDataset):
    """Recordings of an event camera with one folder per class.

    ``reader`` is the name of a data set in SpikingJelly (``'CIFAR10DVS'``, ``'DVS128Gesture'``,
    ``'NCaltech101'``, ``'NMNIST'``, ``'HARDVS'``, ``'DVSLip'``, ``'ASLDVS'``, ``'ESImageNet'``,
    ``'NAVGestureWalk'``, ``'NAVGestureSit'``, ``'Bullying10kClassification'``), or ``'NCARS'``,
    ``'UCF101DVS'``, ``'HMDB51DVS'`` or ``'folders'``. Recordings are searched under ``data_root``

    * in ``events_np``, the folder of SpikingJelly's conversion;
    * in their distributed form, here or in ``extract``: ``[<split>/]<class>/*.bin`` (N-MNIST,
      N-Caltech101), ``*.aedat`` (CIFAR10-DVS), ``*.dat`` (N-CARS), ``*.mat`` (ASL-DVS, UCF101-DVS,
      HMDB51-DVS);
    * in ``download``: archives in this folder are unpacked once. SpikingJelly converts their
      content if it cannot be read directly. Nothing is downloaded.

    Data sets without split folders (CIFAR10-DVS, N-Caltech101, ASL-DVS, NavGesture) are split per
    class: the first ceil(``train_share`` * n) recordings in the order of their file names are the
    train split, the others are the test split. For CIFAR10-DVS and N-Caltech101 these are the 90 %
    of the official recipes, with the same files as SpikingJelly's ``split_to_train_test_set``. The
    label is the position in the sorted folder names ('10' comes before '2'), as in models trained
    with SpikingJelly; ``metainfo['classes']`` has the names in this order.

    A sample has ``img_path`` (the recording), ``gt_label``, ``sensor_size`` (height, width), and
    ``layout`` if the data set has its own (CIFAR10-DVS). Hidden files are ignored; endings may be
    in upper case.

    Args:
        data_root: folder of the data set.
        split: ``'train'`` (default), ``'test'``, and for HARDVS also ``'val'``.
        reader: name of the data set, or ``'folders'`` (default) for any tree of class folders in
            split folders.
        train_share: share of the train split in (0, 1), for data sets without split folders only;
            None (default) uses the share of the data set.
        sensor_size: (height, width) of the sensor in pixels; required for ``reader='folders'``, and
            not supported for other readers.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: there are no recordings; the message names the expected folders.
        ValueError: the reader or split is unknown, or class folders are missing or unexpected.
    """

    SPLITS = ('train', 'val', 'test')

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        reader: str = 'folders',
        train_share: float | None = None,
        sensor_size: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        if reader == 'folders':
            if sensor_size is None or len(sensor_size) != 2 or min(sensor_size) < 1:
                raise ValueError(
                    "mmbsa.EventDataset: reader='folders' needs sensor_size=(height, width), got "
                    f'{sensor_size!r}'
                )
            self.source = EventSource(
                tuple(sensor_size), 0, splits={split: (split,)}, archives=False
            )
        elif reader not in SOURCES:
            raise ValueError(
                f"mmbsa.EventDataset: reader must be 'folders' or one of {sorted(SOURCES)}, got "
                f'{reader!r}'
            )
        else:
            self.source = SOURCES[reader]
            if sensor_size is not None:
                raise ValueError(
                    f'mmbsa.EventDataset: sensor_size of {reader} is {self.source.size}; leave it '
                    'out'
                )
        share = self.source.train_share
        if train_share is not None and (share is None or not 0 < train_share < 1):
            raise ValueError(
                'mmbsa.EventDataset: train_share must be in (0, 1), and only for data sets without '
                f'split folders; got {train_share!r} for {reader}'
            )
        self.reader, self.train_share = reader, share if train_share is None else train_share
        known = tuple(self.source.splits) or ('train', 'test')
        if split not in known:
            raise ValueError(
                f'mmbsa.EventDataset: split must be one of {known} for {reader}, got {split!r}'
            )
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict per recording of the split, with its path and its label.

        Raises:
            FileNotFoundError: a class folder has no recording of the split.
            ValueError: the number of class folders differs from that of the data set.
        """
        folder = self._folder()
        source = f'mmbsa.EventDataset (reader={self.reader!r}, split={self.split!r})'
        names = class_folders(folder, source, self.source.classes or None, SERVICE)
        if self.source.num_classes and len(names) != self.source.num_classes:
            raise ValueError(
                f'{source}: {folder} should hold {self.source.num_classes} class folders, found '
                f'{len(names)}'
            )
        self._metainfo.setdefault(
            'classes', tuple(self.source.classes.get(name, name) for name in names)
        )
        data = []
        for label, name in enumerate(names):
            files = recordings(folder / name)
            if self.train_share is not None:
                edge = math.ceil(len(files) * self.train_share)
                files = files[:edge] if self.split == 'train' else files[edge:]
            if not files:
                raise FileNotFoundError(
                    f'{source}: {folder / name} holds no recordings of this split '
                    f'({", ".join(ENDINGS)})'
                )
            facts = dict(gt_label=label, sensor_size=self.source.size)
            if self.source.layout is not None:
                facts['layout'] = self.source.layout
            data += [dict(img_path=str(path), **facts) for path in files]
        return data

    def _folder(self) -> Path:
        root = Path(self.data_root)
        folder = find_folder(self.source, root, self.split)
        if folder is None and (root / 'download').is_dir() and self.source.archives:
            if is_main_process():
                prepare(self.reader, root, self.split)
            barrier()
            folder = find_folder(self.source, root, self.split)
        if folder is None:
            expected = '|'.join(self.source.splits.get(self.split, ())) or '.'
            raise FileNotFoundError(
                f'mmbsa.EventDataset (reader={self.reader!r}, split={self.split!r}): no recordings '
                f'in data_root={root}; expected class folders with {", ".join(ENDINGS)} in '
                f'{expected}, in events_np/{expected} or in extract/{expected}, or the archives as '
                'distributed in download'
            )
        return folder
