"""Hook that checks datasets and names the file or config key with an error."""

import socket
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmbsa.engine.data_sources import explain_failed_builds, missing_files, parts, why_no_samples
from mmbsa.engine.data_stream import DataStream
from mmbsa.engine.guarded_pipeline import GuardedPipeline
from mmbsa.engine.nodes import is_first_of_node
from mmbsa.registry import HOOKS
from mmbsa.utils.errors import DataError
from mmbsa.utils.processes import watch_parent


@HOOKS.register_module()
class DataGuardHook(Hook):
    """Check a dataset against its folder and against the model, and name files that fail to load.

    Before the first sample of a training, validation or test, once per dataset:

    * the dataset is not empty, every image and annotation of its pipeline exists, and there is at
      least one batch (also with ``drop_last``);
    * each head's ``num_classes`` is the number of classes of the dataset;
    * the padding value of labels in training (``seg_pad_val``) is a class, or each head ignores it
      (``ignore_index``).

    The message names a folder that does not exist or has no files with the right ending, and the
    section of the README that describes how to fill it. The runner itself raises this error,
    because mmengine builds datasets before it calls hooks.

    While samples load, in the process that loads them, ``DataError`` with the name of the file is
    raised for an unreadable file, for labels with another size than their picture or with several
    channels, and for a label that is neither a class nor ignored (on a GPU such a label would cause
    a device-side assert without a file name).

    Args:
        check_files: whether to check for missing files (one listing per folder, local folders
            only); True by default.
        check_labels: whether to check the labels of every sample; True by default.
    """

    priority = 'VERY_HIGH'

    def __init__(self, check_files: bool = True, check_labels: bool = True) -> None:
        self.check_files, self.check_labels = check_files, check_labels
        explain_failed_builds(
            lambda runner: any(isinstance(hook, DataGuardHook) for hook in runner.hooks)
        )

    def before_train(self, runner: Runner) -> None:
        """Check the datasets of training and validation."""
        self._guard(runner, 'train_dataloader', runner.train_dataloader)
        if runner.val_loop is not None:
            self._guard(runner, 'val_dataloader', runner.val_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Check the dataset of a validation without training."""
        self._guard(runner, 'val_dataloader', runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Check the dataset of a test."""
        self._guard(runner, 'test_dataloader', runner.test_dataloader)

    def _guard(self, runner: Runner, key: str, loader: DataLoader) -> None:
        dataset = loader.dataset
        if hasattr(loader, 'worker_init_fn'):
            watch_parent(loader)
        if len(dataset) == 0:
            found = [why_no_samples(part, f'{key}.dataset') for part in parts(dataset)]
            raise next(filter(None, found), None) or DataError(
                f'{key}.dataset is empty: '
                + '; '.join(
                    f'no images in {getattr(part, "data_prefix", None)}' for part in parts(dataset)
                )
            )
        check_batches(key, loader, _is_endless(runner, key, loader))
        heads = heads_with_classes(runner.model)
        for part in parts(dataset):
            if not hasattr(part, 'pipeline') or isinstance(part.pipeline, GuardedPipeline):
                continue
            classes = (getattr(part, 'metainfo', None) or {}).get('classes')
            for name, head in heads.items():
                if classes is not None and head.num_classes != len(classes):
                    raise ValueError(
                        f'model.{name}.num_classes={head.num_classes}, but {key}.dataset '
                        f'({type(part).__name__}) has '
                        f'{len(classes)} classes'
                    )
            if key == 'train_dataloader':
                check_padding(heads, label_fillers(_bare(runner.model), part))
            if self.check_files:
                self._check_files(key, part)
            source = min(heads, key=lambda name: heads[name].num_classes, default=None)
            ignored = [
                {head.ignore_index}
                for head in heads.values()
                if isinstance(getattr(head, 'ignore_index', None), int)
            ]
            part.pipeline = GuardedPipeline(
                part.pipeline.transforms,
                heads[source].num_classes if source is not None and self.check_labels else None,
                set.intersection(*ignored) if ignored else (),
                f'model.{source}.num_classes',
            )

    @staticmethod
    def _check_files(key: str, part: Dataset) -> None:
        found = (socket.gethostname(), missing_files(part) if is_first_of_node() else [])
        for host, missing in all_gather_object(found):  # machines may have different files
            if missing:
                some = '\n  '.join(missing[:10])
                more = f'\n  and {len(missing) - 10} more' if len(missing) > 10 else ''
                where = f' on {host}' if get_world_size() > 1 else ''
                raise DataError(
                    f'{key}.dataset ({type(part).__name__}): {len(missing)} files are '
                    f'missing{where}:\n  '
                    f'{some}{more}'
                )


def _bare(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _is_endless(runner: Runner, key: str, loader: DataLoader) -> bool:
    """Return whether batches continue over the end of the dataset, so that all are full."""
    if key != 'train_dataloader' or not isinstance(runner.train_loop, IterBasedTrainLoop):
        return False
    streamed = any(hasattr(hook, 'streams') for hook in runner.hooks) and DataStream.fits(loader)
    return isinstance(getattr(loader, 'sampler', None), InfiniteSampler) or streamed


def check_batches(key: str, loader: DataLoader, endless: bool = False) -> None:
    """Check that a loader has at least one batch; a run without batches would end at once.

    Args:
        key: config key of the loader, for the message.
        loader: the data loader.
        endless: whether batches continue over the end of the dataset; False by default.

    Raises:
        ValueError: there is no batch; the message names samples, batch size and key.
    """
    if endless or len(loader) > 0:
        return
    share = len(loader.sampler) if hasattr(loader.sampler, '__len__') else len(loader.dataset)
    raise ValueError(
        f'{key} gives no batch: batch_size={loader.batch_size} with drop_last=True, but only '
        f'{share} of the '
        f'{len(loader.dataset)} samples go to each process; lower {key}.batch_size or set '
        f'{key}.drop_last=False'
    )


def label_fillers(model: nn.Module, dataset: Dataset) -> dict[str, int]:
    """Return config key -> label, for all entries that write labels."""
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
    """Check that each head has every label of :func:`label_fillers` as a class, or ignores it.

    Args:
        heads: config path -> head.
        fillers: config key -> label.

    Raises:
        ValueError: a label is neither; the message names both keys.
    """
    for name, head in heads.items():
        ignored = getattr(head, 'ignore_index', None)
        for key, value in fillers.items():
            if isinstance(ignored, int) and value != ignored and not 0 <= value < head.num_classes:
                raise ValueError(
                    f'model.{name}.ignore_index={ignored}, but {key} writes the label {value:g}, '
                    f'which is neither ignored nor one of the {head.num_classes} classes; set both '
                    'to the same value'
                )


def heads_with_classes(model: nn.Module) -> dict[str, Any]:
    """Return config path under ``model`` -> head, for the heads that have ``num_classes``."""
    model, found = _bare(model), {}
    for name in ('decode_head', 'auxiliary_head', 'head'):
        head = getattr(model, name, None)
        many = isinstance(head, nn.ModuleList | list | tuple)
        for index, one in enumerate(head if many else [head]):
            if isinstance(getattr(one, 'num_classes', None), int):
                found[f'{name}[{index}]' if many else name] = one
    return found
