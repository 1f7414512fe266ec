"""A pipeline whose errors name the file, and which checks its labels."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import Compose

from mmbsa.utils.errors import DataError

NO_FILES = 'a sample without files'


class GuardedPipeline(Compose):
    """The transforms of a pipeline, with errors that name the file, and a check of their labels.

    A map of labels must have one channel and the size of its picture, both as loaded.

    Args:
        transforms: transforms, already built; the list is not copied.
        num_classes: labels must be below this number; None disables the check.
        ignored: other labels that the heads ignore.
        source: config key of ``num_classes``, for the message.
    """

    def __init__(
        self, transforms: list, num_classes: int | None, ignored: Iterable[int], source: str
    ) -> None:
        self.transforms, self.num_classes, self.source = transforms, num_classes, source
        self.ignored = sorted(set(ignored))

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms on the description of one sample."""
        files = {key: data[key] for key in ('img_path', 'seg_map_path') if data.get(key)}
        size = compared = None
        for transform in self.transforms:
            try:
                data = transform(data)
            except Exception as error:
                # images load before labels, so a missing key identifies the file
                if 'img' not in data:
                    files.pop('seg_map_path', None)
                elif (
                    'seg_map_path' in files
                    and 'gt_seg_map' not in data
                    and isinstance(transform, LoadAnnotations)
                ):
                    files.pop('img_path', None)
                raise DataError(
                    f'{_names(files)}: {type(transform).__name__} failed with '
                    f'{type(error).__name__}: '
                    f'{error}'
                ) from error
            if data is None:
                return None
            size = size or image_size(data)
            if compared is None and isinstance(data.get('gt_seg_map'), np.ndarray):
                compared = True
                check_label_map(data['gt_seg_map'].shape, size, files)
                check_label_depth(files.get('seg_map_path'))
        samples = data.get('data_samples')
        for index, sample in enumerate(samples if isinstance(samples, list) else [samples]):
            if compared is None and 'gt_sem_seg' in (sample or ()):  # loaded by a nested transform
                self._check_packed(data, index, sample, files)
            if self.num_classes is not None:
                self._check_labels(sample, files)
        return data

    @staticmethod
    def _check_packed(data: dict, index: int, sample: Any, files: dict[str, str]) -> None:
        channels, *shape = sample.gt_sem_seg.data.shape
        inputs = data.get('inputs')
        inputs = inputs[index] if isinstance(inputs, list) else inputs
        seen = tuple(inputs.shape[-2:]) if inputs is not None else None
        if (
            channels != 1 or tuple(shape) != seen
        ):  # labels may keep their size if predictions are resized to it
            shape = shape if channels == 1 else (*shape, channels)
            check_label_map(tuple(shape), sample.metainfo.get('ori_shape', seen), files)

    def _check_labels(self, sample: Any, files: dict[str, str]) -> None:
        if 'gt_sem_seg' in (sample or ()):
            labels = sample.gt_sem_seg.data
        elif 'gt_label' in (sample or ()):
            labels = sample.gt_label
        else:
            return
        if not labels.numel():  # a picture without a class, in a multi-label data set
            return
        low, high = labels.aminmax()
        if low >= 0 and high < self.num_classes:
            return  # fast path for samples without ignored pixels
        found = labels[(labels < 0) | (labels >= self.num_classes)].unique().tolist()
        wrong = [label for label in found if label not in self.ignored]
        if wrong:
            name = files.get('seg_map_path') or files.get('img_path') or NO_FILES
            raise DataError(
                f'{name}: labels {wrong[:5]} are neither in 0..{self.num_classes - 1} '
                f'({self.source}='
                f'{self.num_classes}) nor ignored (ignore_index {self.ignored}); check '
                "num_classes and the dataset's reduce_zero_label"
            )


def _names(files: dict[str, str]) -> str:
    return ', '.join(map(str, files.values())) or NO_FILES


def image_size(data: dict) -> tuple[int, int] | None:
    """Return (height, width) of a loaded picture or of a sensor; None if nothing is loaded yet."""
    if 'img' not in data:
        return None
    shape = data.get('ori_shape') or getattr(data['img'], 'shape', ())
    return tuple(int(side) for side in shape[:2]) if len(shape) > 1 else None


def check_label_map(
    shape: tuple[int, ...], size: tuple[int, int] | None, files: dict[str, str]
) -> None:
    """Check that a map of labels has one channel and the size of its picture.

    Args:
        shape: shape of the labels as loaded.
        size: (height, width) of the picture as loaded; None if unknown.
        files: ``img_path`` and ``seg_map_path``, if there are such files.

    Raises:
        DataError: the check fails; the message names both files and sizes.
    """
    labels = files.get('seg_map_path', 'labels of ' + _names(files))
    if len(shape) != 2:
        found = f'{shape[2]} channels' if len(shape) == 3 else f'the shape {tuple(shape)}'
        raise DataError(
            f'{labels}: labels must have one channel with the number of a class in every pixel, '
            'found '
            f'{found}; convert colours to class numbers first'
        )
    if size is None or tuple(shape) == tuple(size):
        return
    turned = tuple(shape) == tuple(size)[::-1]
    hint = (
        ' The picture seems to be rotated by its EXIF orientation, but the labels are not: write '
        "it without EXIF, or load it with color_type='color_ignore_orientation'."
        if turned
        else ''
    )
    raise DataError(
        f'{files.get("img_path", NO_FILES)}, {labels}: the picture is {size[0]} x {size[1]} '
        '(height x width), '
        f'its labels are {shape[0]} x {shape[1]}; expected the same size.{hint}'
    )


def check_label_depth(path: str | None) -> None:
    """Raise DataError for 16-bit labels above 255, of which loaders keep only the lower 8 bits."""
    if not isinstance(path, str) or not path.lower().endswith('.png') or '://' in path:
        return
    with open(path, 'rb') as file:
        head = file.read(25)
    if head[:4] == b'\x89PNG' and head[24] == 16:
        highest = int(cv2.imread(path, cv2.IMREAD_UNCHANGED).max())
        if highest > 255:
            raise DataError(
                f'{path}: labels up to {highest} in 16 bits, but labels are loaded as 8 bits '
                '(0..255)'
            )
