"""Overrides of a config with a check: every key must exist, or be marked as new."""

from collections.abc import Iterator
from copy import deepcopy
from numbers import Number

from mmengine.config import Config
from mmengine.config.config import DELETE_KEY

#: prefix of a key that the config does not have yet.
NEW = '+'


class GridError(ValueError):
    """Error in a grid or in one of its overrides; the message names file, axis and key."""


def apply_overrides(cfg: Config, overrides: dict, where: str) -> Config:
    """Return a copy of a config with overrides merged as by ``--cfg-options``.

    Args:
        cfg: the config.
        overrides: dotted key -> value. Digits are indices of lists. A dict is merged into the
            existing dict, unless it contains ``_delete_: true``. A key, or a key within such a
            dict, must exist in the config. With the prefix ``+`` the key is new and must not exist.
        where: beginning of error messages, for example ``'grid.yaml: axes.neuron.IF'``.

    Raises:
        GridError: a key does not exist, a ``+key`` exists, a text replaces a number, or a value
            cannot be merged.
    """
    cfg, options = deepcopy(cfg), {}
    for key, value in overrides.items():
        if not isinstance(key, str) or not key.strip(NEW):
            raise GridError(
                f'{where}: keys of overrides are dotted names of config entries, got {key!r}'
            )
        name = key.removeprefix(NEW)
        if key.startswith(NEW):
            if _find(cfg, name)[0]:
                raise GridError(
                    f'{where}: {key} is marked as new, but the config has {name} = '
                    f'{_short(_find(cfg, name)[1])}; remove the {NEW}'
                )
            value = _without_delete(value)
        else:
            for path, new in _leaves(name, value):
                _check(cfg, path, new, where)
        options[name] = value
    try:
        cfg.merge_from_dict(deepcopy(options))
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise GridError(
            f'{where}: {", ".join(options)} cannot be merged into the config: {error}'
        ) from error
    return cfg


def _find(cfg: Config, name: str) -> tuple[bool, object]:
    """Return whether a dotted name exists in the config, and its value."""
    here = cfg._cfg_dict
    for part in name.split('.'):
        if isinstance(here, list | tuple) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        elif isinstance(here, dict) and part in here:
            here = here[part]
        else:
            return False, None
    return True, here


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield every key that a value sets: the keys in a merged dict, otherwise the key itself."""
    if isinstance(value, dict) and value and not value.get(DELETE_KEY):
        for key, inner in value.items():
            yield from _leaves(f'{name}.{key}', inner)
    else:
        yield name, value


def _check(cfg: Config, name: str, new: object, where: str) -> None:
    there, old = _find(cfg, name)
    if not there:
        raise GridError(
            f'{where}: the config has no {name}, so the override has no effect; '
            f'{_nearest(cfg, name)}. If the key is meant to be new, write {NEW} before the key'
        )
    if isinstance(old, Number) and not isinstance(old, bool) and isinstance(new, str):
        raise GridError(
            f'{where}: {name} is {old!r} in the config, and the grid has the text {new!r} '
            '(YAML reads 5e-4 as a text: write 5.0e-4)'
        )


def _nearest(cfg: Config, name: str) -> str:
    """Return text that names the existing part of a dotted name, and the entries there."""
    parts = name.split('.')
    for end in range(len(parts) - 1, 0, -1):
        there, value = _find(cfg, '.'.join(parts[:end]))
        if there:
            names = sorted(map(str, value)) if isinstance(value, dict) else None
            what = f'has {", ".join(names)}' if names else f'is {_short(value)}'
            return f'{".".join(parts[:end])} {what}'
    return f'its entries are {", ".join(sorted(map(str, cfg._cfg_dict)))}'


def _without_delete(value: object) -> object:
    """Remove ``_delete_`` from a new entry; mmengine would pass it on as an argument."""
    if isinstance(value, dict):
        return {key: _without_delete(inner) for key, inner in value.items() if key != DELETE_KEY}
    return value


def _short(value: object, letters: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= letters else text[:letters] + '...'
