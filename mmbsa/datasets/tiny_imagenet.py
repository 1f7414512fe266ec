"""Tiny-ImageNet in its original layout."""

from pathlib import Path

from mmbsa.datasets.classification import ClassificationDataset, class_folders
from mmbsa.registry import DATASETS
from mmbsa.utils.listing import visible_files

IMAGES = ('.jpeg', '.jpg', '.png')
#: folders next to the class folders that are not classes
IGNORED = ('__MACOSX',)


@DATASETS.register_module()
class TinyImageNet(ClassificationDataset):
    """Tiny-ImageNet-200 (Stanford CS231n): 500 + 50 photos of 64 x 64 pixels per class.

    It has 200 classes.

    Layout under ``data_root``, as in ``tiny-imagenet-200.zip``::

        wnids.txt                     optional: the classes, in any order
        train/<wnid>/images/*.JPEG
        val/images/*.JPEG  val/val_annotations.txt   (or, rearranged, val/<wnid>/...)

    Labels are the positions of the sorted wnids.

    Args:
        data_root: folder with ``train`` and ``val``.
        split: ``'train'`` (default) or ``'val'``; the test split has no labels.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: a folder or ``val_annotations.txt`` is missing, or there is no photo.
        ValueError: a line of the annotations has an unknown class or photo.
    """

    SPLITS = ('train', 'val')

    def load_data_list(self) -> list[dict]:
        """List the photos of the split with their labels."""
        root = Path(self.data_root)
        source = f'mmbsa.TinyImageNet (split={self.split!r})'
        listed = root / 'wnids.txt'
        expected = listed.read_text().split() if listed.is_file() else None
        wnids = class_folders(root / 'train', source, expected, IGNORED)
        self._metainfo.setdefault('classes', tuple(wnids))
        labels = {wnid: label for label, wnid in enumerate(wnids)}
        annotations = root / 'val' / 'val_annotations.txt'
        original = annotations.is_file() or (root / 'val' / 'images').is_dir()
        if self.split == 'train' or not original:
            class_folders(root / self.split, source, wnids, IGNORED)
            pairs = [
                (path, labels[wnid])
                for wnid in wnids
                for path in visible_files(root / self.split / wnid, IMAGES, recursive=True)
            ]
        else:
            pairs = self._annotated(annotations, labels)
        if not pairs:
            raise FileNotFoundError(
                f'{source}: no photos ({", ".join(IMAGES)}) under {root / self.split}'
            )
        return [dict(img_path=str(path), gt_label=label) for path, label in pairs]

    @staticmethod
    def _annotated(annotations: Path, labels: dict[str, int]) -> list[tuple[Path, int]]:
        if not annotations.is_file():
            raise FileNotFoundError(
                f'{annotations} is missing; it contains the class of every photo in val/images'
            )
        images = annotations.parent / 'images'
        there = {path.name for path in images.iterdir()} if images.is_dir() else set()
        pairs = []
        for number, line in enumerate(annotations.read_text().splitlines(), 1):
            name, wnid = (line.split() + ['', ''])[:2]
            if not name:
                continue
            if wnid not in labels:
                raise ValueError(
                    f'{annotations}:{number}: {wnid!r} is none of the {len(labels)} classes in '
                    'train'
                )
            if name not in there:
                raise ValueError(f'{annotations}:{number}: {name!r} is not in {images}')
            pairs.append((images / name, labels[wnid]))
        return pairs
