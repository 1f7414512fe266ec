"""Checkpoints: read with an explicit list of what they may hold, and found again after a crash.

mmengine's loaders differ: 0.10.7 leaves the choice to torch (which refuses its own log buffers),
0.10.12 falls back to unpickling anything. ``make_loading_safe`` puts one strict loader in their
place.
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
    """Stand in for ``getattr``, which mmengine's log buffers name in their pickles, for their own
    methods only."""
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')


#: All that a checkpoint may name beside tensors and plain containers: mmengine's log buffers and
#: the numpy arrays and scalars inside them and inside the dataset's meta information. numpy 1
#: called ``numpy._core`` ``numpy.core``.
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
    """Load a checkpoint with ``weights_only=True`` and ``SAFE_GLOBALS``; the file runs no code of
    its own.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: The file is cut off or damaged.
        UnpicklingError: The file names a class or function outside the list.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise MissingCheckpointError(f'there is no checkpoint {path}')
    # every time, because mmengine's own `safe_globals` contexts drop shared entries when they end
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'checkpoint {path} was not loaded: {_refusal(path, str(error))}'
        ) from error
    except Exception as error:  # torch fails in many ways on bytes that it did not write
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RuntimeError(f'checkpoint {path} is cut off or damaged: {reason}') from error


def _refusal(path: str, error: str) -> str:
    """What a refused checkpoint names or holds, from torch's message, which is a page about what to
    switch off."""
    names = set(re.findall(r'GLOBAL (\S+)', error))
    try:
        names |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # written by another torch, or by no torch at all
        pass
    names = {name.removeprefix('builtins.') for name in names}
    if names:
        return (
            f'it names {", ".join(sorted(names))}, but it may hold only tensors, plain containers '
            'and log buffers; '
            'nothing in it was run. If you trust its source, load it there and save its weights '
            'alone: '
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    reason = error.rpartition('WeightsUnpickler error:')[2].strip().splitlines()
    return (
        f'it is damaged or no file of torch.save ({reason[0].strip() if reason else "it is empty"})'
    )


def load_from_local(filename: str, map_location: MapLocation = None) -> Any:
    """Answer mmengine for paths; it cuts the first ten letters off this name for its log."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(
    filename: str, map_location: MapLocation = None, model_dir: str | None = None
) -> Any:
    """Answer mmengine for URLs; the first process downloads, the others wait and find the file."""
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    load = partial(
        torch.hub.load_state_dict_from_url, filename, model_dir, map_location, weights_only=True
    )
    checkpoint = load() if is_main_process() else None
    barrier()
    return checkpoint if is_main_process() else load()


def make_loading_safe() -> None:
    """Let every checkpoint that mmengine reads from a path or a URL go through
    ``weights_only=True``."""
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    CheckpointLoader.register_scheme(
        prefixes=('http://', 'https://'), loader=load_from_http, force=True
    )


def is_whole(path: str | os.PathLike) -> bool:
    """Return whether every byte of a checkpoint is as it was written (``torch.save`` keeps
    checksums in the file)."""
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
    """List the checkpoints of a run, newest first.

    Steps count, from the one in ``last_checkpoint`` down. A checkpoint beyond it counts if it was
    written later (the process was killed between the two files), but not if it is a leftover of an
    older, longer run.

    Args:
        folder: Where the checkpoints are.
        template: Their names, with ``{}`` for the step.
        pointer: The file ``last_checkpoint``; in ``folder``, if None.
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
    """Yield the undamaged checkpoints, with a warning for each one that is passed over."""
    for path in paths:
        if is_whole(path):
            yield path
        else:
            print_log(
                f'checkpoint {path} is cut off or damaged and is passed over',
                'current',
                logging.WARNING,
            )


def is_finite(path: str | os.PathLike) -> bool:
    """Return whether all weights and buffers in a checkpoint are finite."""
    state = load_checkpoint_file(path, 'cpu')['state_dict']
    return all(value.isfinite().all() for value in state.values() if value.is_floating_point())


#: where checkpoints keep their weights, the preferred place first.
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
#: names that wrappers (DataParallel, torch.compile, recomputation, FSDP) put into the names of
#: weights.
WRAPPERS = re.compile(
    r'(?:^|(?<=\.))(?:module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.'
)


def state_dicts(checkpoint: Any, depth: int = 3) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield every dict of named tensors in a checkpoint with its place in it, the preferred ones
    first."""
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
    """Prefix -> number of keys that are a wanted one behind it."""
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
    """Find a module's weights in a checkpoint, whatever container and prefix they are under.

    Args:
        checkpoint: What a file holds: weights, or dicts with weights in them (``state_dict``,
            ``model``, ``net``, ...).
        wanted: The module's own names.
        prefix: Take only weights under this prefix, or under one that ends with it; '' takes the
            prefix under which most of the wanted names are (``backbone.``, ``model.encoder.``,
            ...). Names of wrappers (``module.``, ``_orig_mod.``) are left out where they are in the
            way.

    Returns:
        All tensors under the prefix that was found, without it; their names need not all be wanted.

    Raises:
        KeyError: No wanted name is there; the message tells what is.
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
