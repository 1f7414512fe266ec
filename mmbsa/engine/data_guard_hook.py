"""Say which file or config key is wrong before, or when, data spoils a run."""
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmbsa.registry import HOOKS


class DataError(RuntimeError):
    """A file of a dataset cannot be used; the message names it."""


class GuardedPipeline(Compose):
    """The transforms of a pipeline, with errors that name the file, and a check of the labels they give.

    Args:
        transforms: Transforms, already built; the list is shared, not copied.
        num_classes: Labels must be below it; None leaves them unchecked.
        ignored: Labels outside that a head ignores.
        source: The config key of ``num_classes``, for the message.
    """

    def __init__(self, transforms: list, num_classes: int | None, ignored: Iterable[int], source: str) -> None:
        self.transforms, self.num_classes, self.source = transforms, num_classes, source
        self.ignored = sorted(set(ignored))

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms on one sample's description."""
        files = {key: data[key] for key in ('img_path', 'seg_map_path') if data.get(key)}
        for transform in self.transforms:
            try:
                data = transform(data)
            except Exception as error:
                # images load before labels, so what is not there yet tells which file it was
                if 'img' not in data:
                    files.pop('seg_map_path', None)
                elif 'seg_map_path' in files and 'gt_seg_map' not in data and isinstance(transform, LoadAnnotations):
                    files.pop('img_path', None)
                names = ', '.join(map(str, files.values())) or 'a sample without files'
                raise DataError(f'{names}: {type(transform).__name__} failed with {type(error).__name__}: '
                                f'{error}') from error
            if data is None:
                return None
        if self.num_classes is not None:
            self._check_labels(data, files)
        return data

    def _check_labels(self, data: dict, files: dict[str, str]) -> None:
        samples = data.get('data_samples')
        for sample in samples if isinstance(samples, list) else [samples]:
            if 'gt_sem_seg' in (sample or ()):
                labels = sample.gt_sem_seg.data
            elif 'gt_label' in (sample or ()):
                labels = sample.gt_label
            else:
                continue
            low, high = labels.aminmax()
            if low >= 0 and high < self.num_classes:
                continue  # the cheap way out for samples without ignored pixels
            found = labels[(labels < 0) | (labels >= self.num_classes)].unique().tolist()
            wrong = [label for label in found if label not in self.ignored]
            if wrong:
                name = files.get('seg_map_path') or files.get('img_path') or 'a sample without files'
                raise DataError(
                    f'{name}: labels {wrong[:5]} are neither in 0..{self.num_classes - 1} ({self.source}='
                    f'{self.num_classes}) nor ignored (ignore_index {self.ignored}); look at num_classes and at the '
                    "dataset's reduce_zero_label")


@HOOKS.register_module()
class DataGuardHook(Hook):
    """Check a dataset against its folder and against the model, and name the file when a sample fails.

    Before the first sample of a training, validation or test, once per dataset:

    * the dataset is not empty, and every image and annotation that its pipeline will load is there;
    * each head's ``num_classes`` is the number of the dataset's classes.

    While samples load, in the process that loads them: an unreadable file raises ``DataError`` with its name, and so
    does a label that is neither a class nor ignored (on a GPU it would be a device-side assert that names nothing).

    Args:
        check_files: Look for missing files (one listing per folder, local folders only).
        check_labels: Check the labels of every sample.
    """

    priority = 'VERY_HIGH'

    def __init__(self, check_files: bool = True, check_labels: bool = True) -> None:
        self.check_files, self.check_labels = check_files, check_labels

    def before_train(self, runner: Runner) -> None:
        """Guard the datasets of training and validation."""
        self._guard(runner, 'train_dataloader', runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._guard(runner, 'val_dataloader', runner.val_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Guard the dataset of a validation without training."""
        self._guard(runner, 'val_dataloader', runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Guard the dataset of a test."""
        self._guard(runner, 'test_dataloader', runner.test_dataloader.dataset)

    def _guard(self, runner: Runner, key: str, dataset: Dataset) -> None:
        if len(dataset) == 0:
            raise DataError(f'{key}.dataset is empty: '
                            + '; '.join(f'no images in {getattr(part, "data_prefix", None)}' for part in parts(dataset)))
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
            if self.check_files:
                self._check_files(key, part)
            source, head = next(iter(heads.items()), (None, None))
            part.pipeline = GuardedPipeline(
                part.pipeline.transforms,
                head.num_classes if head is not None and self.check_labels else None,
                {head.ignore_index for head in heads.values() if hasattr(head, 'ignore_index')},
                f'model.{source}.num_classes')

    @staticmethod
    def _check_files(key: str, part: Dataset) -> None:
        missing = [None]
        if is_main_process():
            missing = [missing_files(part)]
        broadcast_object_list(missing)
        if missing[0]:
            some = '\n  '.join(missing[0][:10])
            more = f'\n  and {len(missing[0]) - 10} more' if len(missing[0]) > 10 else ''
            raise DataError(f'{key}.dataset ({type(part).__name__}): {len(missing[0])} files are missing:\n  {some}{more}')


def parts(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the datasets inside mm's wrappers (concatenated, repeated, balanced, ...)."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from parts(inner)
    elif hasattr(dataset, 'dataset'):
        yield from parts(dataset.dataset)
    else:
        yield dataset


def heads_with_classes(model: nn.Module) -> dict[str, Any]:
    """Return the heads of a segmentor or classifier that have ``num_classes``, by their config path under ``model``."""
    if is_model_wrapper(model):
        model = model.module
    found = {}
    for name in ('decode_head', 'auxiliary_head', 'head'):
        head = getattr(model, name, None)
        many = isinstance(head, nn.ModuleList | list | tuple)
        for index, one in enumerate(head if many else [head]):
            if isinstance(getattr(one, 'num_classes', None), int):
                found[f'{name}[{index}]' if many else name] = one
    return found


def missing_files(dataset: Dataset) -> list[str]:
    """Return the local files that a dataset's pipeline will load and that are not there."""
    keys = []
    for transform in dataset.pipeline.transforms:
        if getattr(transform, 'backend_args', None) is None:
            keys += ['img_path'] * isinstance(transform, LoadImageFromFile)
            keys += ['seg_map_path'] * isinstance(transform, LoadAnnotations)
    wanted = defaultdict(set)  # folder -> names
    for index in range(len(dataset) if keys else 0):
        info = dataset.get_data_info(index)
        for key in keys:
            if isinstance(info.get(key), str) and '://' not in info[key]:
                folder, name = os.path.split(info[key])
                wanted[folder or '.'].add(name)
    missing = []
    for folder, names in wanted.items():
        there = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        missing += [os.path.join(folder, name) for name in names - there]
    return sorted(missing)
