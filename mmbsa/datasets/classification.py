"""Base class of the classification datasets, and a reader of class folders."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset


class ClassificationDataset(BaseDataset):
    """Base class of datasets with one label per sample, for pipelines and metrics of mmpretrain.

    A sample has ``gt_label`` (int) and either ``img`` (array) or ``img_path`` (file).

    Args:
        data_root: folder of the data set.
        split: one of ``SPLITS``; ``'train'`` by default.
        kwargs: arguments of ``mmengine.dataset.BaseDataset`` (pipeline, indices, metainfo, ...).

    Raises:
        ValueError: the split is unknown, or ``data_root`` is missing.
    """

    SPLITS: tuple[str, ...] = ('train', 'test')

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        name = type(self).__name__
        if split not in self.SPLITS:
            raise ValueError(f'mmbsa.{name}: split must be one of {self.SPLITS}, got {split!r}')
        if not data_root:
            raise ValueError(
                f'mmbsa.{name}: data_root must be the folder of the data, got {data_root!r}'
            )
        self.split = split
        super().__init__(
            ann_file='', data_root=str(Path(data_root).expanduser()), data_prefix={}, **kwargs
        )

    @property
    # noqa: N802 - tools of mmpretrain read this name
    def CLASSES(self) -> Sequence[str] | None:
        """Names of the classes, in the order of the labels."""
        return self._metainfo.get('classes')

    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all samples, (N,) int64."""
        return np.array(
            [self.get_data_info(index)['gt_label'] for index in range(len(self))], np.int64
        )

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of a sample as a list, for class-balancing wrappers of mmengine."""
        return [int(self.get_data_info(idx)['gt_label'])]


def class_folders(
    folder: Path,
    source: str,
    expected: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> list[str]:
    """Return the sorted names of the class folders in ``folder``.

    Args:
        folder: folder that contains one folder per class.
        source: name of the caller, for messages.
        expected: class folders that must exist; None (default) accepts any folders.
        ignored: names of folders that are not classes; names that begin with a dot are always
            ignored.

    Raises:
        FileNotFoundError: the folder does not exist or contains no folder.
        ValueError: folders are missing or unexpected, which would shift the labels.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{source}: {folder} is not a folder; expected one folder per class in it'
        )
    found = sorted(
        child.name
        for child in folder.iterdir()
        if child.is_dir() and child.name[0] != '.' and child.name not in ignored
    )
    if not found:
        raise FileNotFoundError(f'{source}: {folder} holds no folders; expected one per class')
    if expected is not None and set(found) != set(expected):
        missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise ValueError(
            f'{source}: {folder} should hold {len(expected)} class folders; missing {missing[:5]}, '
            f'not expected {extra[:5]}'
        )
    return found
