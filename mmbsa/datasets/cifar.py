"""CIFAR-10 and CIFAR-100 in their distributed forms: python pickles or .bin records.

They are read from a folder or directly from the archive.
"""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import barrier, is_main_process

from mmbsa.datasets.classification import ClassificationDataset
from mmbsa.registry import DATASETS

PIXELS = 3 * 32 * 32
URL = 'https://www.cs.toronto.edu/~kriz/'
#: all names that the pickles of CIFAR use; unpickling any other name could run code
_HARMLESS = {
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('_codecs', 'encode'),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f'names {module}.{name}, which no CIFAR file does')
        return super().find_class(module, name)


class _Cifar(ClassificationDataset):
    """CIFAR in one of its four distributed forms; the first one under ``data_root`` is read.

    ``img`` is uint8 RGB, (32, 32, 3): set ``to_rgb=False`` in the data preprocessor, as with
    mmpretrain's dataset. Nothing is downloaded unless ``download=True``.

    Args:
        data_root: folder that contains (or is) the folder or the archive named in ``FORMS``.
        split: ``'train'`` (default) or ``'test'``.
        download: whether to download the python archive if no form is found; False by default.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: no form is found.
        ValueError: a file does not have the content of CIFAR; the message names it.
    """

    #: (folder, archive, True for pickles and False for records); the first archive is downloaded
    FORMS: tuple[tuple[str, str, bool], ...]
    MD5: str
    #: split -> ((pickle, .bin file), ...)
    FILES: dict[str, tuple[tuple[str, str], ...]]
    #: number of images in each file of a split
    IMAGES_PER_FILE: dict[str, int]
    #: number of bytes of a record before the pixels; the last of these bytes is the label
    LABEL_BYTES: int
    LABEL_KEY: str

    def __init__(
        self, data_root: str, split: str = 'train', download: bool = False, **kwargs
    ) -> None:
        self.download = download
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read all images and labels of the split."""
        read, pickled = self._open()
        images, labels = [], []
        for names in self.FILES[self.split]:
            name, content = read(names[0] if pickled else names[1])
            pixels, numbers = (self._from_pickle if pickled else self._from_records)(name, content)
            wanted = self.IMAGES_PER_FILE[self.split]
            if len(pixels) != wanted or len(numbers) != wanted:
                raise ValueError(
                    f'{name}: expected {wanted} images and labels, found {len(pixels)} and '
                    f'{len(numbers)}; '
                    'the file is incomplete'
                )
            if min(numbers) < 0 or max(numbers) >= len(self.METAINFO['classes']):
                raise ValueError(
                    f'{name}: labels {min(numbers)}..{max(numbers)} are not all in '
                    f'0..{len(self.METAINFO["classes"]) - 1}'
                )
            images.append(pixels)
            labels += numbers
        images = np.concatenate(images).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return [
            dict(img=np.ascontiguousarray(image), gt_label=label)
            for image, label in zip(images, labels)
        ]

    def _find(self) -> tuple[Path, bool] | None:
        root = Path(self.data_root)
        for folder, archive, pickled in self.FORMS:
            first = self.FILES[self.split][0][0 if pickled else 1]
            for path in (root / folder, root):
                if (path / first).is_file():
                    return path, pickled
            if (root / archive).is_file():
                return root / archive, pickled
        return None

    def _open(self):
        found = self._find()
        if found is None and self.download:
            if is_main_process():
                from torchvision.datasets.utils import download_url

                archive = self.FORMS[0][1]
                download_url(URL + archive, self.data_root, archive, self.MD5)
            barrier()
            found = self._find()
        if found is None:
            forms = ', '.join(name for form in self.FORMS for name in form[:2])
            raise FileNotFoundError(
                f'mmbsa.{type(self).__name__}: none of {forms} is in data_root={self.data_root}; '
                'get '
                f'one of the archives from {URL}cifar.html, or set download=True'
            )
        path, pickled = found
        if path.is_dir():

            def read(name):
                file = path / name
                if not file.is_file():
                    raise FileNotFoundError(
                        f'{file} is missing; the {self.split} split consists of '
                        f'{[names[0 if pickled else 1] for names in self.FILES[self.split]]}'
                    )
                return str(file), file.read_bytes()

            return read, pickled
        members = self._members(path)

        def read_member(name):
            if name not in members:
                raise ValueError(f'{path}: {name} is missing in the archive')
            return f'{path}:{name}', members[name]

        return read_member, pickled

    def _members(self, path: Path) -> dict[str, bytes]:
        wanted = {name for names in self.FILES[self.split] for name in names}
        try:
            with tarfile.open(
                path
            ) as archive:  # one pass: random access to a compressed archive is slow
                return {
                    Path(member.name).name: archive.extractfile(member).read()
                    for member in archive
                    if member.isfile() and Path(member.name).name in wanted
                }
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(
                f'{path}: not a complete tar archive ({type(error).__name__}: {error})'
            ) from error

    def _from_pickle(self, name: str, content: bytes) -> tuple[np.ndarray, list[int]]:
        try:
            batch = _ArrayUnpickler(io.BytesIO(content), encoding='latin1').load()
            pixels, labels = batch['data'], [int(label) for label in batch[self.LABEL_KEY]]
        except Exception as error:  # pickle raises many types for broken input
            raise ValueError(
                f'{name}: not a python batch of CIFAR with data and {self.LABEL_KEY} '
                f'({type(error).__name__}: {error})'
            ) from error
        if (
            not isinstance(pixels, np.ndarray)
            or pixels.dtype != np.uint8
            or pixels.shape[1:] != (PIXELS,)
        ):
            raise ValueError(
                f'{name}: expected uint8 data of shape (N, {PIXELS}), found '
                f'{getattr(pixels, "dtype", type(pixels).__name__)} {getattr(pixels, "shape", "")}'
            )
        return pixels, labels

    def _from_records(self, name: str, content: bytes) -> tuple[np.ndarray, list[int]]:
        size = self.LABEL_BYTES + PIXELS
        if not content or len(content) % size:
            raise ValueError(
                f'{name}: expected records of {size} bytes, found {len(content)} bytes'
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        return records[:, self.LABEL_BYTES :], records[:, self.LABEL_BYTES - 1].tolist()


@DATASETS.register_module()
class CIFAR10(_Cifar):
    """CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 photos of 32 x 32 pixels in 10 classes.

    Distributed forms: ``cifar-10-batches-py``, ``cifar-10-python.tar.gz``,
    ``cifar-10-batches-bin``, ``cifar-10-binary.tar.gz``. Nothing is downloaded unless
    ``download=True``.

    Args:
        data_root: folder that contains (or is) one of these forms.
        split: ``'train'`` (default) or ``'test'``.
        download: whether to download the python archive if no form is found; False by default.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: no form is found.
        ValueError: a file does not have the content of CIFAR; the message names it.
    """

    METAINFO = dict(
        classes=(
            'airplane',
            'automobile',
            'bird',
            'cat',
            'deer',
            'dog',
            'frog',
            'horse',
            'ship',
            'truck',
        )
    )
    FORMS = (
        ('cifar-10-batches-py', 'cifar-10-python.tar.gz', True),
        ('cifar-10-batches-bin', 'cifar-10-binary.tar.gz', False),
    )
    MD5 = 'c58f30108f718f92721af3b95e74349a'
    FILES = dict(
        train=tuple((f'data_batch_{index}', f'data_batch_{index}.bin') for index in range(1, 6)),
        test=(('test_batch', 'test_batch.bin'),),
    )
    IMAGES_PER_FILE = dict(train=10000, test=10000)
    LABEL_BYTES, LABEL_KEY = 1, 'labels'


@DATASETS.register_module()
class CIFAR100(_Cifar):
    """CIFAR-100 (Krizhevsky, 2009) with 100 fine labels: 50,000 + 10,000 photos of 32 x 32 pixels.

    Distributed forms: ``cifar-100-python``, ``cifar-100-python.tar.gz``, ``cifar-100-binary``,
    ``cifar-100-binary.tar.gz``. Nothing is downloaded unless ``download=True``.

    Args:
        data_root: folder that contains (or is) one of these forms.
        split: ``'train'`` (default) or ``'test'``.
        download: whether to download the python archive if no form is found; False by default.
        kwargs: arguments of :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: no form is found.
        ValueError: a file does not have the content of CIFAR; the message names it.
    """

    METAINFO = dict(
        classes=(
            'apple',
            'aquarium_fish',
            'baby',
            'bear',
            'beaver',
            'bed',
            'bee',
            'beetle',
            'bicycle',
            'bottle',
            'bowl',
            'boy',
            'bridge',
            'bus',
            'butterfly',
            'camel',
            'can',
            'castle',
            'caterpillar',
            'cattle',
            'chair',
            'chimpanzee',
            'clock',
            'cloud',
            'cockroach',
            'couch',
            'crab',
            'crocodile',
            'cup',
            'dinosaur',
            'dolphin',
            'elephant',
            'flatfish',
            'forest',
            'fox',
            'girl',
            'hamster',
            'house',
            'kangaroo',
            'keyboard',
            'lamp',
            'lawn_mower',
            'leopard',
            'lion',
            'lizard',
            'lobster',
            'man',
            'maple_tree',
            'motorcycle',
            'mountain',
            'mouse',
            'mushroom',
            'oak_tree',
            'orange',
            'orchid',
            'otter',
            'palm_tree',
            'pear',
            'pickup_truck',
            'pine_tree',
            'plain',
            'plate',
            'poppy',
            'porcupine',
            'possum',
            'rabbit',
            'raccoon',
            'ray',
            'road',
            'rocket',
            'rose',
            'sea',
            'seal',
            'shark',
            'shrew',
            'skunk',
            'skyscraper',
            'snail',
            'snake',
            'spider',
            'squirrel',
            'streetcar',
            'sunflower',
            'sweet_pepper',
            'table',
            'tank',
            'telephone',
            'television',
            'tiger',
            'tractor',
            'train',
            'trout',
            'tulip',
            'turtle',
            'wardrobe',
            'whale',
            'willow_tree',
            'wolf',
            'woman',
            'worm',
        )
    )
    FORMS = (
        ('cifar-100-python', 'cifar-100-python.tar.gz', True),
        ('cifar-100-binary', 'cifar-100-binary.tar.gz', False),
    )
    MD5 = 'eb9058c3a382ffc7106e4002c42a8d85'
    FILES = dict(train=(('train', 'train.bin'),), test=(('test', 'test.bin'),))
    IMAGES_PER_FILE = dict(train=50000, test=10000)
    LABEL_BYTES, LABEL_KEY = 2, 'fine_labels'
