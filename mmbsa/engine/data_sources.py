"""Files of a dataset: their folders, missing files, and the reason why there are none."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmbsa.utils.errors import DataError, MissingDataError
from mmbsa.utils.types import type_name

#: data sets with a section in README.md, by a part of the name of their class.
README_SECTIONS = {'ADE20K': 'ADE20K, step by step'}
README_DEFAULT = 'Configs'


def parts(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the datasets inside mm's wrappers (concatenated, repeated, balanced, ...)."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from parts(inner)
    elif hasattr(dataset, 'dataset'):
        yield from parts(dataset.dataset)
    else:
        yield dataset


def config_parts(cfg: Any) -> Iterator[dict]:
    """Yield the configs of the datasets inside the config of mm's wrappers."""
    if isinstance(cfg, list | tuple):
        for inner in cfg:
            yield from config_parts(inner)
    elif isinstance(cfg, dict) and ('datasets' in cfg or 'dataset' in cfg):
        yield from config_parts(cfg['datasets'] if 'datasets' in cfg else cfg['dataset'])
    elif isinstance(cfg, dict):
        yield cfg


def missing_files(dataset: Dataset) -> list[str]:
    """Return the local files of a dataset's pipeline that do not exist."""
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


def folders(dataset: Dataset) -> list[str]:
    """Return the local folders of a dataset's ``data_prefix``, with folders of images first.

    Remote addresses (with ``://`` or a prefix such as ``s3:``) are excluded.
    """
    prefix = getattr(dataset, 'data_prefix', None)
    prefix = prefix if isinstance(prefix, dict) else dict(img_path=prefix)
    found = [
        str(path)
        for _, path in sorted(prefix.items(), key=lambda item: 'img' not in item[0])
        if isinstance(path, str | Path) and str(path)
    ]
    return [path for path in found if '://' not in path and ':' not in path.split('/')[0]]


def where_to_read(dataset: Any) -> str:
    """Return a sentence with the README section on how to fill a dataset's folder."""
    name = dataset if isinstance(dataset, str) else type(dataset).__name__
    section = next((text for part, text in README_SECTIONS.items() if part in name), README_DEFAULT)
    return f'README.md, "{section}", describes how to get and place the data'


def why_no_samples(dataset: Dataset, key: str) -> DataError | None:
    """Return an error that names a missing folder or list of a dataset, or an empty folder.

    The result is None if everything exists.

    Args:
        dataset: one dataset; it need not be loaded.
        key: config key of the dataset, for the message.
    """
    name, ann_file = f'{key} ({type(dataset).__name__})', getattr(dataset, 'ann_file', '')
    if isinstance(ann_file, str) and ann_file and '://' not in ann_file:
        if not os.path.exists(ann_file):
            return MissingDataError(
                f'{name}: {ann_file} (ann_file) does not exist; {where_to_read(dataset)}'
            )
        if os.path.isfile(ann_file) and not os.path.getsize(ann_file):
            return DataError(f'{key} is empty: {ann_file} lists nothing')
    for folder in folders(dataset):
        if not os.path.isdir(folder):
            return MissingDataError(
                f'{name}: the folder {folder} does not exist; {where_to_read(dataset)}'
            )
    suffix = 'img_suffix' if hasattr(dataset, 'img_suffix') else 'extensions'
    wanted = getattr(dataset, suffix, None) or ()
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    none = 'no ' + (', '.join(f'*{ending}' for ending in wanted) or 'samples')
    for folder in (
        [] if isinstance(ann_file, str) and os.path.isfile(ann_file) else folders(dataset)[:1]
    ):
        endings = endings_in(folder)
        if not endings:
            return DataError(
                f'{key} is empty: {none} in {folder}, which holds no files; '
                f'{where_to_read(dataset)}'
            )
        if wanted and not any(file.endswith(wanted) for file in endings.values()):
            there = ', '.join(
                f'*{ending}' if ending else 'files without an ending' for ending in endings
            )
            return DataError(
                f'{key} is empty: {none} in {folder}, there are {there}; the ending is '
                f'{key}.{suffix}'
            )
    return None


def endings_in(folder: str | os.PathLike, limit: int = 10_000) -> dict[str, str]:
    """Return ending -> a file, for the files in a folder and its subfolders, most frequent first.

    Hidden files are ignored, and the search stops after ``limit`` files (10,000 by default).
    """
    counts, example = Counter(), {}
    for _, _, names in os.walk(folder):
        for name in names:
            if not name.startswith('.'):
                ending = os.path.splitext(name)[1]
                counts[ending] += 1
                example[ending] = name
        if sum(counts.values()) > limit:
            break
    return {ending: example[ending] for ending, _ in counts.most_common(5)}


def explain(key: str, cfg: dict, error: Exception) -> DataError | None:
    """Return an error that names the wrong folder or file, from an error of building a dataset.

    The result is None if folders and files are not the reason.

    Args:
        key: config key of the loader, for example ``'train_dataloader'``.
        cfg: config of the loader.
        error: error of building ``<key>.dataset``.
    """
    if isinstance(error, DataError):
        return None
    cfgs, lazy = list(config_parts(cfg.get('dataset') if isinstance(cfg, dict) else None)), []
    for part in cfgs:
        try:  # mmengine's datasets determine their paths without reading files
            lazy.append(DATASETS.build(dict(part, lazy_init=True, pipeline=[])))
        # no lazy_init, or an error in the config, which the original error describes better
        except Exception:
            reason = _why_no_list(part, f'{key}.dataset')
        else:
            reason = why_no_samples(lazy[-1], f'{key}.dataset')
        if reason is not None:
            return reason
    names = ', '.join(map(type_name, cfgs))
    if isinstance(error, FileNotFoundError):
        text = ' '.join(str(error).split())
        return MissingDataError(f'{key}.dataset ({names}): {text}; {where_to_read(names)}')
    lists = [
        data.ann_file
        for data in lazy
        if isinstance(getattr(data, 'ann_file', None), str) and data.ann_file
    ]
    if lists and len(lazy) == len(cfgs):  # the configs are right, so the listed files are wrong
        return DataError(
            f'{key}.dataset ({names}): {", ".join(lists)} cannot be read as annotations: '
            f'{type(error).__name__}: {error}'
        )
    return None


def _why_no_list(cfg: dict, key: str) -> DataError | None:
    """Return the error of a missing list, which mmseg's VOC reads even with lazy_init."""
    ann_file = cfg.get('ann_file')
    if not isinstance(ann_file, str) or not ann_file or '://' in ann_file:
        return None
    path = os.path.join(cfg.get('data_root') or '', ann_file)
    if os.path.exists(path):
        return None
    name = type_name(cfg)
    return MissingDataError(
        f'{key} ({name}): {path} (ann_file) does not exist; {where_to_read(name)}'
    )


def _explained(build: Callable, key: str, guarded: Callable[[Runner], bool]) -> Callable:
    @wraps(build)
    def build_loop(self: Runner, loop):
        try:
            return build(self, loop)
        except Exception as error:
            reason = explain(key, getattr(self, f'_{key}', None), error) if guarded(self) else None
            if reason is None:
                raise
            raise reason from error

    build_loop.explains_data = True
    return build_loop


def explain_failed_builds(guarded: Callable[[Runner], bool]) -> None:
    """Make runners name the wrong folder or file if a dataset cannot be built.

    mmengine builds datasets before it calls hooks, so a hook cannot catch these errors.

    Args:
        guarded: function that returns whether this applies to a runner.
    """
    for phase in ('train', 'val', 'test'):
        build = getattr(Runner, f'build_{phase}_loop')
        if not hasattr(build, 'explains_data'):
            setattr(
                Runner, f'build_{phase}_loop', _explained(build, f'{phase}_dataloader', guarded)
            )
