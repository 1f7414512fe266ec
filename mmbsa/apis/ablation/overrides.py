"""Overrides of a config that cannot miss: every key must exist, or be announced as new."""

from collections.abc import Iterator
from copy import deepcopy
from numbers import Number

from mmengine.config import Config
from mmengine.config.config import DELETE_KEY

#: in front of a key that the config does not have yet.
NEW = '+'


class GridError(ValueError):
    """A grid, or one of its overrides, is not what it should be; the message names file, axis and
    key."""


def apply_overrides(cfg: Config, overrides: dict, where: str) -> Config:
    """Return a copy of a config with overrides merged as ``--cfg-options`` does it.

    Args:
        cfg: what the keys are looked up in.
        overrides: dotted key -> value. Digits index lists. A dict is merged into the dict that is
            there, unless it holds ``_delete_: true``. A key, or a key within such a dict, that the
            config does not have is refused unless the override's key begins with ``+``; and with
            ``+`` it must not be there.
        where: what error messages begin with, for example ``'grid.yaml: axes.neuron.IF'``.

    Raises:
        GridError: a key that is not there, a ``+key`` that is, a text in place of a number, or what
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
                    f'{where}: {key} is announced as new, but the config has {name} = '
                    f'{_short(_find(cfg, name)[1])}; drop the {NEW}'
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
    """Look a dotted name up: whether it is there, and its value."""
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
    """Yield every key that a value sets: the keys within a dict that is merged, else the key
    itself."""
    if isinstance(value, dict) and value and not value.get(DELETE_KEY):
        for key, inner in value.items():
            yield from _leaves(f'{name}.{key}', inner)
    else:
        yield name, value


def _check(cfg: Config, name: str, new: object, where: str) -> None:
    there, old = _find(cfg, name)
    if not there:
        raise GridError(
            f'{where}: the config has no {name}, so this override would have been ignored, or have '
            'made a key '
            f'that nobody reads; {_nearest(cfg, name)}. If it is meant to be new, write {NEW} in '
            'front of '
            'the key'
        )
    if isinstance(old, Number) and not isinstance(old, bool) and isinstance(new, str):
        raise GridError(
            f'{where}: {name} is {old!r} in the config, and the grid has the text {new!r} '
            '(YAML reads 5e-4 as a text: write 5.0e-4)'
        )


def _nearest(cfg: Config, name: str) -> str:
    """Say how far a dotted name reaches, and what there is."""
    parts = name.split('.')
    for end in range(len(parts) - 1, 0, -1):
        there, value = _find(cfg, '.'.join(parts[:end]))
        if there:
            names = sorted(map(str, value)) if isinstance(value, dict) else None
            what = f'has {", ".join(names)}' if names else f'is {_short(value)}'
            return f'{".".join(parts[:end])} {what}'
    return f'its entries are {", ".join(sorted(map(str, cfg._cfg_dict)))}'


def _without_delete(value: object) -> object:
    """A new entry replaces nothing; mmengine would keep the mark as an argument."""
    if isinstance(value, dict):
        return {key: _without_delete(inner) for key, inner in value.items() if key != DELETE_KEY}
    return value


def _short(value: object, letters: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= letters else text[:letters] + '...'
