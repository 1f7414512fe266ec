"""Point clouds for classification: ModelNet and ScanObjectNN in their distributed forms."""

from pathlib import Path

import numpy as np

from mmbsa.datasets.classification import ClassificationDataset, class_folders
from mmbsa.datasets.point_files import h5_arrays
from mmbsa.registry import DATASETS
from mmbsa.utils.listing import visible_files

#: classes of ModelNet10, in the order of their names.
MODELNET10 = (
    'bathtub',
    'bed',
    'chair',
    'desk',
    'dresser',
    'monitor',
    'night_stand',
    'sofa',
    'table',
    'toilet',
)
#: classes of ModelNet40, in the order of their names.
MODELNET40 = (
    'airplane',
    'bathtub',
    'bed',
    'bench',
    'bookshelf',
    'bottle',
    'bowl',
    'car',
    'chair',
    'cone',
    'cup',
    'curtain',
    'desk',
    'door',
    'dresser',
    'flower_pot',
    'glass_box',
    'guitar',
    'keyboard',
    'lamp',
    'laptop',
    'mantel',
    'monitor',
    'night_stand',
    'person',
    'piano',
    'plant',
    'radio',
    'range_hood',
    'sink',
    'sofa',
    'stairs',
    'stool',
    'table',
    'tent',
    'toilet',
    'tv_stand',
    'vase',
    'wardrobe',
    'xbox',
)
#: classes of ScanObjectNN, in the order of its labels.
SCANOBJECTNN = (
    'bag',
    'bin',
    'box',
    'cabinet',
    'chair',
    'desk',
    'display',
    'door',
    'shelf',
    'table',
    'bed',
    'pillow',
    'sink',
    'sofa',
    'toilet',
)


@DATASETS.register_module()
class ModelNet(ClassificationDataset):
    """ModelNet10 and ModelNet40 in one of three layouts.

    * ``'txt'``: ``modelnet40_normal_resampled``: ``modelnet<classes>_{shape_names,train,test}.txt``
      and ``<class>/<id>.txt`` with lines ``x,y,z,nx,ny,nz`` (10,000 points with normals);
    * ``'h5'``: ``modelnet40_ply_hdf5_2048``: ``{train,test}_files.txt`` name files with ``data``
      (n, 2048, 3), ``label`` (n, 1) and optionally ``normal``; ``shape_names.txt``. ModelNet10 is
      the subset of its classes;
    * ``'off'``: Princeton's meshes, ``<class>/{train,test}/<id>.off``, see ``mmbsa.LoadPoints``.

    A sample has ``gt_label`` and either ``points_path`` or ``points`` (2048, 3 or 6).

    Args:
        data_root: folder of the data set.
        split: ``'train'`` (default) or ``'test'``.
        classes: 10 or 40 (default).
        layout: one of the three, or ``'auto'`` (default) to detect it from the files.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: no layout is found, or a file of the layout is missing.
        ValueError: the number of classes or the layout is unknown, or a class is not in ModelNet.
    """

    LAYOUTS = ('txt', 'h5', 'off')

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        classes: int = 40,
        layout: str = 'auto',
        **kwargs,
    ) -> None:
        names = {10: MODELNET10, 40: MODELNET40}
        if classes not in names:
            raise ValueError(f'mmbsa.ModelNet: classes must be 10 or 40, got {classes!r}')
        if layout not in ('auto', *self.LAYOUTS):
            raise ValueError(
                f"mmbsa.ModelNet: layout must be 'auto' or one of {self.LAYOUTS}, got {layout!r}"
            )
        self.layout, self.names = layout, names[classes]
        kwargs['metainfo'] = {'classes': self.names, **(kwargs.get('metainfo') or {})}
        super().__init__(data_root, split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe the samples of the split."""
        root = Path(self.data_root)
        lists = dict(
            txt=root / f'modelnet{len(self.names)}_{self.split}.txt',
            h5=root / f'{self.split}_files.txt',
            off=root / self.names[0] / self.split,
        )
        layout = self.layout
        if layout == 'auto':
            layout = next((name for name, path in lists.items() if path.exists()), None)
        if layout is None or not lists[layout].exists():
            expected = list(lists.values()) if layout is None else [lists[layout]]
            raise FileNotFoundError(
                f'mmbsa.ModelNet: expected {" or ".join(map(str, expected))} under '
                f'data_root={self.data_root!r}'
            )
        return getattr(self, f'_{layout}')(root, lists[layout])

    def _label(self, name: str, source: Path) -> int:
        if name not in self.names:
            raise ValueError(
                f'mmbsa.ModelNet: {source} names {name!r}, which is not a class of '
                f'ModelNet{len(self.names)}'
            )
        return self.names.index(name)

    def _txt(self, root: Path, listed: Path) -> list[dict]:
        samples = []
        for shape in listed.read_text().split():
            name = shape.rpartition('_')[0]
            samples.append(
                dict(
                    points_path=str(root / name / f'{shape}.txt'),
                    gt_label=self._label(name, listed),
                )
            )
        return samples

    def _h5(self, root: Path, listed: Path) -> list[dict]:
        names = (
            (root / 'shape_names.txt').read_text().split()
            if (root / 'shape_names.txt').exists()
            else MODELNET40
        )
        samples = []
        for line in listed.read_text().split():
            file = h5_arrays(root / Path(line).name, ('data', 'label'), optional=('normal',))
            points = np.concatenate(
                [file['data'], *([file['normal']] if 'normal' in file else [])], -1
            )
            for cloud, label in zip(points, file['label'].reshape(-1)):
                name = names[int(label)]
                if name in self.names:
                    samples.append(dict(points=cloud, gt_label=self._label(name, listed)))
        return samples

    def _off(self, root: Path, folder: Path) -> list[dict]:
        class_folders(root, 'mmbsa.ModelNet', self.names)
        return [
            dict(points_path=str(path), gt_label=label)
            for label, name in enumerate(self.names)
            for path in visible_files(root / name / self.split, ['.off'])
        ]


@DATASETS.register_module()
class ScanObjectNN(ClassificationDataset):
    """ScanObjectNN: scans of real objects in 15 classes, 2,048 points without normals.

    Files are ``<background>/{training,test}_<variant>.h5`` with ``data`` (n, 2048, 3) and ``label``
    (n,).

    Args:
        data_root: folder that contains ``main_split`` and ``main_split_nobg``.
        split: ``'train'`` (default) or ``'test'``.
        variant: ``'PB_T50_RS'`` (default; the hardest and most used variant), ``'PB_T50_R'``,
            ``'PB_T25_R'``, ``'PB_T25'`` or ``'OBJ'`` (unperturbed).
        background: whether points around the object are included (``main_split``) or not
            (``main_split_nobg``); False by default.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the variant is unknown, or labels are outside of the 15 classes.
    """

    METAINFO = dict(classes=SCANOBJECTNN)
    VARIANTS = {
        'OBJ': 'objectdataset',
        'PB_T25': 'objectdataset_augmented25_norot',
        'PB_T25_R': 'objectdataset_augmented25rot',
        'PB_T50_R': 'objectdataset_augmentedrot',
        'PB_T50_RS': 'objectdataset_augmentedrot_scale75',
    }

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        variant: str = 'PB_T50_RS',
        background: bool = False,
        **kwargs,
    ) -> None:
        if variant not in self.VARIANTS:
            raise ValueError(
                f'mmbsa.ScanObjectNN: variant must be one of {list(self.VARIANTS)}, got {variant!r}'
            )
        self.variant, self.background = variant, background
        super().__init__(data_root, split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe the samples of the split."""
        folder = Path(self.data_root) / ('main_split' if self.background else 'main_split_nobg')
        path = (
            folder
            / f'{dict(train="training", test="test")[self.split]}_{self.VARIANTS[self.variant]}.h5'
        )
        file = h5_arrays(path, ('data', 'label'))
        labels = file['label'].reshape(-1)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(SCANOBJECTNN):
            raise ValueError(
                f'mmbsa.ScanObjectNN: labels of {path} must be in 0..14, found '
                f'{labels.min()}..{labels.max()}'
            )
        return [
            dict(points=points, gt_label=int(label)) for points, label in zip(file['data'], labels)
        ]
