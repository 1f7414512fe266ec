"""What all classification datasets of ours share."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset


class ClassificationDataset(BaseDataset):
    """Samples with one label each, in the form that pipelines and metrics of mmpretrain expect.

    A sample's description has ``gt_label`` (int) and either ``img`` (array) or ``img_path`` (file).

    Args:
        data_root: Folder of the data set.
        split: One of ``SPLITS``.
        kwargs: Passed to ``mmengine.dataset.BaseDataset`` (pipeline, indices, metainfo, ...).

    Raises:
        ValueError: Another split, or no ``data_root``.
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
    # noqa: N802 - the name that tools of mmpretrain ask for
    def CLASSES(self) -> Sequence[str] | None:
        """Names of the classes, in the order of the labels."""
        return self._metainfo.get('classes')

    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all samples, (N,) int64."""
        return np.array(
            [self.get_data_info(index)['gt_label'] for index in range(len(self))], np.int64
        )

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of a sample as a list; class-balancing wrappers of mmengine ask for
        it."""
        return [int(self.get_data_info(idx)['gt_label'])]


def class_folders(
    folder: Path,
    source: str,
    expected: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> list[str]:
    """Return the sorted names of the class folders in ``folder``.

    Args:
        folder: Where a folder per class is expected.
        source: Who asks, for messages.
        expected: The class folders that have to be there; None takes those found.
        ignored: Folders that are not classes; those whose names begin with a dot never are.

    Raises:
        FileNotFoundError: No such folder, or no folder in it.
        ValueError: Folders are missing or too many: labels would shift silently.
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
