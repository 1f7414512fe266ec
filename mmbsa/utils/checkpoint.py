"""Checkpoints: loading with an explicit list of allowed content, and search after a crash.

mmengine's loaders differ: 0.10.7 leaves the choice to torch (which rejects mmengine's log buffers),
0.10.12 falls back to unpickling anything. ``make_loading_safe`` replaces them by one strict loader.
"""

import logging
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import CheckpointLoader

from mmbsa.utils.errors import MissingCheckpointError

MapLocation = str | torch.device | Callable | None
POINTER = 'last_checkpoint'


def _history_buffer_method(owner: type, name: str) -> Callable:
    """Replace ``getattr`` in the pickles of mmengine's log buffers, for their own methods only."""
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')


#: All names that a checkpoint may contain besides tensors and plain containers: mmengine's log
#: buffers, and the numpy arrays and scalars in them and in the dataset's meta information. In
#: numpy 1, ``numpy._core`` is ``numpy.core``.
SAFE_GLOBALS = [
    HistoryBuffer,
    (_history_buffer_method, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'uint8', 'bool')),
    *(
        (getattr(np._core.multiarray, name), f'numpy.{core}.multiarray.{name}')
        for core in ('_core', 'core')
        for name in ('_reconstruct', 'scalar')
    ),
]


def load_checkpoint_file(path: str | os.PathLike, map_location: MapLocation = None) -> Any:
    """Load a checkpoint with ``weights_only=True`` and ``SAFE_GLOBALS``, so it cannot run code.

    Args:
        path: the checkpoint.
        map_location: as in ``torch.load``; None by default.

    Raises:
        FileNotFoundError: the file does not exist.
        RuntimeError: the file is truncated or damaged.
        UnpicklingError: the file contains a class or function that is not in the list.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise MissingCheckpointError(f'checkpoint {path} does not exist')
    # every time, because mmengine's `safe_globals` contexts remove shared entries when they end
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'checkpoint {path} was not loaded: {_refusal(path, str(error))}'
        ) from error
    except Exception as error:  # torch raises many types for bytes that it did not write
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(f'checkpoint {path} is truncated or damaged: {reason}') from error


def _refusal(path: str, error: str) -> str:
    """Return why a checkpoint is rejected, in one sentence, from torch's long message."""
    names = set(re.findall(r'GLOBAL (\S+)', error))
    try:
        names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # not written by this torch version
        pass
    names = {name.removeprefix('builtins.') for name in names}
    if names:
        return (
            f'it contains {", ".join(sorted(names))}, but only tensors, plain containers '
            'and log buffers are allowed; '
            'its code was not run. If you trust its source, load it there and save only its '
            'weights: '
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    reason = error.rpartition('WeightsUnpickler error:')[2].strip().splitlines()
    return (
        'it is damaged or not a file of torch.save '
        f'({reason[0].strip() if reason else "it is empty"})'
    )


def load_from_local(filename: str, map_location: MapLocation = None) -> Any:
    """Load a path for mmengine, whose log omits the first ten letters of this function's name.

    Args:
        filename: path of the checkpoint.
        map_location: as in ``torch.load``; None by default.
    """
    return load_checkpoint_file(filename, map_location)


def load_from_http(
    filename: str, map_location: MapLocation = None, model_dir: str | None = None
) -> Any:
    """Load a URL for mmengine; the first process downloads, the others wait for the file.

    Args:
        filename: URL of the checkpoint.
        map_location: as in ``torch.load``; None by default.
        model_dir: folder of the download; None (default) uses torch's.
    """
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    load = partial(
        torch.hub.load_state_dict_from_url, filename, model_dir, map_location, weights_only=True
    )
    checkpoint = load() if is_main_process() else None
    barrier()
    return checkpoint if is_main_process() else load()


def make_loading_safe() -> None:
    """Make mmengine read every checkpoint from a path or a URL with ``weights_only=True``."""
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(
        prefixes=('http://', 'https://'), loader=load_from_http, force=True
    )


def is_whole(path: str | os.PathLike) -> bool:
    """Return whether all bytes of a checkpoint are intact, by the checksums of ``torch.save``."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def checkpoints_newest_first(
    folder: str | os.PathLike,
    template: str = 'iter_{}.pth',
    pointer: str | os.PathLike | None = None,
) -> list[Path]:
    """Return the checkpoints of a run, newest first.

    The order is that of steps, from the step in ``last_checkpoint`` down. A checkpoint with a later
    step is included if it was written later (the process was killed between the two files), but not
    if it remains from an older, longer run.

    Args:
        folder: folder of the checkpoints.
        template: file names with ``{}`` for the step, ``'iter_{}.pth'`` by default.
        pointer: the file ``last_checkpoint``; None (default) is the one in ``folder``.
    """
    folder, number = Path(folder), re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
    steps = {
        path: int(match[1]) for path in folder.glob('*') if (match := number.fullmatch(path.name))
    }
    pointer = Path(pointer or folder / POINTER)
    last = folder / Path(pointer.read_text().strip()).name if pointer.is_file() else None
    if last in steps:
        written = last.stat().st_mtime_ns
        steps = {
            p: s for p, s in steps.items() if s <= steps[last] or p.stat().st_mtime_ns >= written
        }
    return sorted(steps, key=steps.get, reverse=True)


def whole_checkpoints(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the undamaged checkpoints, with a warning for each damaged one."""
    for path in paths:
        if is_whole(path):
            yield path
        else:
            print_log(
                f'checkpoint {path} is truncated or damaged and is skipped',
                'current',
                logging.WARNING,
            )


def is_finite(path: str | os.PathLike) -> bool:
    """Return whether all weights and buffers in a checkpoint are finite."""
    state = load_checkpoint_file(path, 'cpu')['state_dict']
    return all(value.isfinite().all() for value in state.values() if value.is_floating_point())


#: keys of the weights in checkpoints, in the order of preference.
CONTAINERS = (
    'state_dict',
    'model',
    'net',
    'model_state_dict',
    'network',
    'weights',
    'module',
    'ema_state_dict',
    'state_dict_ema',
    'model_ema',
    'ema',
)
#: parts of weight names that wrappers add (DataParallel, torch.compile, recomputation, FSDP).
WRAPPERS = re.compile(
    r'(?:^|(?<=\.))(?:module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.'
)


def state_dicts(checkpoint: Any, depth: int = 3) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield (position, dict) of every dict of named tensors, preferred ones first.

    Args:
        checkpoint: content of a checkpoint.
        depth: largest depth of the search, 3 by default.
    """
    if not isinstance(checkpoint, Mapping):
        return
    inner = [key for key, value in checkpoint.items() if isinstance(value, Mapping)]
    for key in sorted(
        inner, key=lambda key: CONTAINERS.index(key) if key in CONTAINERS else len(CONTAINERS)
    ):
        for place, state in state_dicts(checkpoint[key], depth - 1) if depth else ():
            yield f'{key}.{place}'.strip('.'), state
    tensors = {
        key: value
        for key, value in checkpoint.items()
        if isinstance(key, str) and torch.is_tensor(value)
    }
    if tensors:
        yield '', tensors


def _prefixes(keys: Iterable[str], wanted: Collection[str]) -> Counter:
    """Return prefix -> number of keys that consist of the prefix and a wanted name."""
    counts = Counter()
    for key in keys:
        parts = key.split('.')
        counts.update(
            '.'.join([*parts[:i], '']) for i in range(len(parts)) if '.'.join(parts[i:]) in wanted
        )
    return counts


def fit_state(
    checkpoint: Any, wanted: Collection[str], prefix: str = ''
) -> dict[str, torch.Tensor]:
    """Find a module's weights in a checkpoint, in any container and under any prefix.

    Args:
        checkpoint: content of a file: weights, or dicts that contain weights (``state_dict``,
            ``model``, ``net``, ...).
        wanted: names of the module's weights.
        prefix: use only weights under this prefix, or under one that ends with it; '' (default)
            uses the prefix with the most wanted names (``backbone.``, ``model.encoder.``, ...).
            Names of wrappers (``module.``, ``_orig_mod.``) are removed if necessary.

    Returns:
        All tensors under the prefix, without the prefix; other names than the wanted ones may
        occur.

    Raises:
        KeyError: no wanted name exists; the message lists the existing names.
    """
    prefix = prefix + '.' if prefix and not prefix.endswith('.') else prefix
    best, best_count, found = {}, 0, []
    for place, raw in state_dicts(checkpoint):
        found.append((place, list(raw)))
        for state in (raw, {WRAPPERS.sub('', key): value for key, value in raw.items()}):
            counts = _prefixes(state, wanted)
            fitting = [p for p in counts if f'.{p}'.endswith(f'.{prefix}')]
            if not fitting:
                continue
            chosen = min(fitting, key=lambda p: (-counts[p], len(p), p))
            if counts[chosen] > best_count:
                best_count = counts[chosen]
                best = {
                    key[len(chosen) :]: value
                    for key, value in state.items()
                    if key.startswith(chosen)
                }
    if best:
        return best
    under = f' under the prefix {prefix!r}' if prefix else ''
    raise KeyError(
        f'none of the {_some(wanted)}{under} is there; found '
        + (
            '; '.join((f'in {place!r}: ' if place else '') + _some(keys) for place, keys in found)
            or 'no named tensors'
        )
    )


def _some(keys: Iterable[str], number: int = 6) -> str:
    keys = list(keys)
    return f'{len(keys)} names {", ".join(keys[:number])}' + (', ...' if len(keys) > number else '')
