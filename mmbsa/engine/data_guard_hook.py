"""Say which file or config key is wrong before, or when, data spoils a run."""
import socket
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import Compose, InfiniteSampler
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmbsa.engine.data_sources import explain_failed_builds, missing_files, parts, why_no_samples
from mmbsa.engine.data_stream import DataStream
from mmbsa.engine.nodes import is_first_of_node
from mmbsa.registry import HOOKS
from mmbsa.utils.errors import DataError

NO_FILES = 'a sample without files'


class GuardedPipeline(Compose):
    """The transforms of a pipeline, with errors that name the file, and a check of the labels they give.

    A map of labels must have one channel and the size of its picture, both as loaded.

    Args:
        transforms: Transforms, already built; the list is shared, not copied.
        num_classes: Labels must be below it; None leaves them unchecked.
        ignored: Labels outside that the heads ignore.
        source: The config key of ``num_classes``, for the message.
    """

    def __init__(self, transforms: list, num_classes: int | None, ignored: Iterable[int], source: str) -> None:
        self.transforms, self.num_classes, self.source = transforms, num_classes, source
        self.ignored = sorted(set(ignored))

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms on one sample's description."""
        files = {key: data[key] for key in ('img_path', 'seg_map_path') if data.get(key)}
        size = compared = None
        for transform in self.transforms:
            try:
                data = transform(data)
            except Exception as error:
                # images load before labels, so what is not there yet tells which file it was
                if 'img' not in data:
                    files.pop('seg_map_path', None)
                elif 'seg_map_path' in files and 'gt_seg_map' not in data and isinstance(transform, LoadAnnotations):
                    files.pop('img_path', None)
                raise DataError(f'{_names(files)}: {type(transform).__name__} failed with {type(error).__name__}: '
                                f'{error}') from error
            if data is None:
                return None
            size = size or image_size(data)
            if compared is None and isinstance(data.get('gt_seg_map'), np.ndarray):
                compared = True
                check_label_map(data['gt_seg_map'].shape, size, files)
                check_label_depth(files.get('seg_map_path'))
        samples = data.get('data_samples')
        for index, sample in enumerate(samples if isinstance(samples, list) else [samples]):
            if compared is None and 'gt_sem_seg' in (sample or ()):  # loaded by a transform inside of another
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
        if channels != 1 or tuple(shape) != seen:  # labels may keep their size where predictions are scaled back
            shape = shape if channels == 1 else (*shape, channels)
            check_label_map(tuple(shape), sample.metainfo.get('ori_shape', seen), files)

    def _check_labels(self, sample: Any, files: dict[str, str]) -> None:
        if 'gt_sem_seg' in (sample or ()):
            labels = sample.gt_sem_seg.data
        elif 'gt_label' in (sample or ()):
            labels = sample.gt_label
        else:
            return
        if not labels.numel():  # a picture of no class, where it may have several
            return
        low, high = labels.aminmax()
        if low >= 0 and high < self.num_classes:
            return  # the cheap way out for samples without ignored pixels
        found = labels[(labels < 0) | (labels >= self.num_classes)].unique().tolist()
        wrong = [label for label in found if label not in self.ignored]
        if wrong:
            name = files.get('seg_map_path') or files.get('img_path') or NO_FILES
            raise DataError(
                f'{name}: labels {wrong[:5]} are neither in 0..{self.num_classes - 1} ({self.source}='
                f'{self.num_classes}) nor ignored (ignore_index {self.ignored}); look at num_classes and at the '
                "dataset's reduce_zero_label")


def _names(files: dict[str, str]) -> str:
    return ', '.join(map(str, files.values())) or NO_FILES


def image_size(data: dict) -> tuple[int, int] | None:
    """Return (height, width) of a loaded picture or of a sensor; None where nothing is loaded yet."""
    if 'img' not in data:
        return None
    shape = data.get('ori_shape') or getattr(data['img'], 'shape', ())
    return tuple(int(side) for side in shape[:2]) if len(shape) > 1 else None


def check_label_map(shape: tuple[int, ...], size: tuple[int, int] | None, files: dict[str, str]) -> None:
    """Refuse a map of labels with channels, or of another size than its picture.

    Args:
        shape: Of the labels as loaded.
        size: (height, width) of the picture as loaded; None if it is not known.
        files: ``img_path`` and ``seg_map_path``, where there are such files.

    Raises:
        DataError: With both files and sizes.
    """
    labels = files.get('seg_map_path', 'labels of ' + _names(files))
    if len(shape) != 2:
        found = f'{shape[2]} channels' if len(shape) == 3 else f'the shape {tuple(shape)}'
        raise DataError(f'{labels}: labels must have one channel with the number of a class in every pixel, found '
                        f'{found}; turn colours into class numbers first')
    if size is None or tuple(shape) == tuple(size):
        return
    turned = tuple(shape) == tuple(size)[::-1]
    hint = (' The picture seems to be turned by its EXIF orientation, and the labels not: write it without EXIF, or '
            "load it with color_type='color_ignore_orientation'." if turned else '')
    raise DataError(f'{files.get("img_path", NO_FILES)}, {labels}: the picture is {size[0]} x {size[1]} (height x width), '
                    f'its labels are {shape[0]} x {shape[1]}; they must have one size.{hint}')


def check_label_depth(path: str | None) -> None:
    """Refuse labels of 16 bits that exceed 255: loaders keep the lower 8 bits alone."""
    if not isinstance(path, str) or not path.lower().endswith('.png') or '://' in path:
        return
    with open(path, 'rb') as file:
        head = file.read(25)
    if head[:4] == b'\x89PNG' and head[24] == 16:
        highest = int(cv2.imread(path, cv2.IMREAD_UNCHANGED).max())
        if highest > 255:
            raise DataError(f'{path}: labels up to {highest} in 16 bits, but labels are loaded as 8 bits (0..255)')


@HOOKS.register_module()
class DataGuardHook(Hook):
    """Check a dataset against its folder and against the model, and name the file when a sample fails.

    Before the first sample of a training, validation or test, once per dataset:

    * the dataset is not empty, every image and annotation that its pipeline will load is there, and there is at least
      one batch (also with ``drop_last``);
    * each head's ``num_classes`` is the number of the dataset's classes;
    * what pads labels in training (``seg_pad_val``) is a class, or ignored by each head (``ignore_index``).

    A folder that is not there or without files of the right ending is named, with the section of the README that tells
    how to fill it; this comes from the runner itself, because mmengine builds datasets before it calls any hook.

    While samples load, in the process that loads them: an unreadable file raises ``DataError`` with its name; so do
    labels of another size than their picture or with several channels, and a label that is neither a class nor ignored
    (on a GPU it would be a device-side assert that names nothing).

    Args:
        check_files: Look for missing files (one listing per folder, local folders only).
        check_labels: Check the labels of every sample.
    """

    priority = 'VERY_HIGH'

    def __init__(self, check_files: bool = True, check_labels: bool = True) -> None:
        self.check_files, self.check_labels = check_files, check_labels
        explain_failed_builds(lambda runner: any(isinstance(hook, DataGuardHook) for hook in runner.hooks))

    def before_train(self, runner: Runner) -> None:
        """Guard the datasets of training and validation."""
        self._guard(runner, 'train_dataloader', runner.train_dataloader)
        if runner.val_loop is not None:
            self._guard(runner, 'val_dataloader', runner.val_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Guard the dataset of a validation without training."""
        self._guard(runner, 'val_dataloader', runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Guard the dataset of a test."""
        self._guard(runner, 'test_dataloader', runner.test_dataloader)

    def _guard(self, runner: Runner, key: str, loader: DataLoader) -> None:
        dataset = loader.dataset
        if len(dataset) == 0:
            found = [why_no_samples(part, f'{key}.dataset') for part in parts(dataset)]
            raise next(filter(None, found), None) or DataError(
                f'{key}.dataset is empty: '
                + '; '.join(f'no images in {getattr(part, "data_prefix", None)}' for part in parts(dataset)))
        check_batches(key, loader, _is_endless(runner, key, loader))
        heads = heads_with_classes(runner.model)
        for part in parts(dataset):
            if not hasattr(part, 'pipeline') or isinstance(part.pipeline, GuardedPipeline):
                continue
            classes = (getattr(part, 'metainfo', None) or {}).get('classes')
            for name, head in heads.items():
                if classes is not None and head.num_classes != len(classes):
                    raise ValueError(
                        f'model.{name}.num_classes={head.num_classes}, but {key}.dataset ({type(part).__name__}) has '
                        f'{len(classes)} classes')
            if key == 'train_dataloader':
                check_padding(heads, label_fillers(_bare(runner.model), part))
            if self.check_files:
                self._check_files(key, part)
            source = min(heads, key=lambda name: heads[name].num_classes, default=None)
            ignored = [{head.ignore_index} for head in heads.values()
                       if isinstance(getattr(head, 'ignore_index', None), int)]
            part.pipeline = GuardedPipeline(
                part.pipeline.transforms,
                heads[source].num_classes if source is not None and self.check_labels else None,
                set.intersection(*ignored) if ignored else (),
                f'model.{source}.num_classes')

    @staticmethod
    def _check_files(key: str, part: Dataset) -> None:
        found = (socket.gethostname(), missing_files(part) if is_first_of_node() else [])
        for host, missing in all_gather_object(found):  # each machine may have data of its own
            if missing:
                some = '\n  '.join(missing[:10])
                more = f'\n  and {len(missing) - 10} more' if len(missing) > 10 else ''
                where = f' on {host}' if get_world_size() > 1 else ''
                raise DataError(f'{key}.dataset ({type(part).__name__}): {len(missing)} files are missing{where}:\n  '
                                f'{some}{more}')


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _is_endless(runner: Runner, key: str, loader: DataLoader) -> bool:
    """Whether a training draws batches across the ends of the dataset, so that every batch is full."""
    if key != 'train_dataloader' or not isinstance(runner.train_loop, IterBasedTrainLoop):
        return False
    streamed = any(hasattr(hook, 'streams') for hook in runner.hooks) and DataStream.fits(loader)
    return isinstance(getattr(loader, 'sampler', None), InfiniteSampler) or streamed


def check_batches(key: str, loader: DataLoader, endless: bool = False) -> None:
    """Refuse a loader without a single batch: a run over it would end at once, as if it had succeeded.

    Raises:
        ValueError: The number of samples, the batch size and the key.
    """
    if endless or len(loader) > 0:
        return
    share = len(loader.sampler) if hasattr(loader.sampler, '__len__') else len(loader.dataset)
    raise ValueError(f'{key} gives no batch: batch_size={loader.batch_size} with drop_last=True, but only {share} of the '
                     f'{len(loader.dataset)} samples go to each process; lower {key}.batch_size or set '
                     f'{key}.drop_last=False')


def label_fillers(model: nn.Module, dataset: Dataset) -> dict[str, int]:
    """Config key -> label, for everything in a model and a training dataset that writes labels of its own."""
    found, data = {}, 'train_dataloader.dataset'
    preprocessor = getattr(model, 'data_preprocessor', None)
    if hasattr(preprocessor, 'seg_pad_val'):
        found['model.data_preprocessor.seg_pad_val'] = preprocessor.seg_pad_val
    for transform in getattr(dataset.pipeline, 'transforms', ()):
        where = f'{data}.pipeline ({type(transform).__name__})'
        for name in ('seg_pad_val', 'seg_fill_in'):
            if getattr(transform, name, None) is not None:
                found[f'{where}.{name}'] = getattr(transform, name)
        pad = getattr(transform, 'pad_val', None)
        if isinstance(pad, dict) and pad.get('seg') is not None:
            found[f"{where}.pad_val['seg']"] = pad['seg']
    if getattr(dataset, 'reduce_zero_label', False):
        found[f'{data}.reduce_zero_label'] = 255
    if 255 in (getattr(dataset, 'label_map', None) or {}).values():
        found[f'{data}.metainfo.classes (labels of other classes)'] = 255
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def check_padding(heads: dict[str, Any], fillers: dict[str, int]) -> None:
    """Refuse labels of :func:`label_fillers` that a head neither knows as a class nor ignores.

    Raises:
        ValueError: With both keys.
    """
    for name, head in heads.items():
        ignored = getattr(head, 'ignore_index', None)
        for key, value in fillers.items():
            if isinstance(ignored, int) and value != ignored and not 0 <= value < head.num_classes:
                raise ValueError(f'model.{name}.ignore_index={ignored}, but {key} writes the label {value:g}, which is '
                                 f'neither ignored nor one of the {head.num_classes} classes; give both the same value')


def heads_with_classes(model: nn.Module) -> dict[str, Any]:
    """Return the heads of a segmentor or classifier that have ``num_classes``, by their config path under ``model``."""
    model, found = _bare(model), {}
    for name in ('decode_head', 'auxiliary_head', 'head'):
        head = getattr(model, name, None)
        many = isinstance(head, nn.ModuleList | list | tuple)
        for index, one in enumerate(head if many else [head]):
            if isinstance(getattr(one, 'num_classes', None), int):
                found[f'{name}[{index}]' if many else name] = one
    return found
