"""Reading of configs from a path, an mmengine Config, a dict, or a ``package::path`` name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from mmengine.config import Config

from mmbsa.apis.swap.level import SwapError

_patching = Lock()


def installed_configs(package: str) -> Path:
    """Return the folder of the configs of an installed OpenMMLab package.

    It is found from the imported package and not from its distribution: the maintained fork has
    distributions with other names (``onedl-mmsegmentation``), for which mmengine's ``mmseg::``
    look-up fails.

    Raises:
        SwapError: the package is not installed or contains no configs.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SwapError(f'{package}::...: the package {package!r} is not installed')
    root = Path(next(iter(spec.submodule_search_locations)))
    for folder in (
        root / '.mim' / 'configs',
        root.parent / 'configs',
    ):  # the folder in a wheel, and in an editable checkout
        if folder.is_dir():
            return folder
    raise SwapError(f'{package}::...: the installed package {package!r} contains no configs')


def resolve(name: str) -> Path:
    """Return the path of a config file.

    Args:
        name: a path, or ``package::family/name.py`` for a config of an installed OpenMMLab package.
            The ending ``.py`` may be omitted.

    Raises:
        SwapError: the file does not exist.
    """
    package, separator, relative = str(name).partition('::')
    path = installed_configs(package) / relative if separator else Path(name)
    candidates = (
        [path]
        if path.suffix in ('.py', '.yml', '.yaml', '.json')
        else [path, path.with_name(path.name + '.py')]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SwapError(f'config {name!r} does not exist (searched for {candidates[-1]})')


@contextmanager
def _own_package_look_up() -> Iterator[None]:
    """Context in which mmengine resolves ``package::path`` bases by :func:`resolve`.

    mmengine calls the static method on the class by name, so that a subclass cannot replace it.
    """
    original = Config._get_cfg_path

    def look_up(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if '::' in cfg_path:
            return str(resolve(cfg_path)), cfg_path.partition('::')[0]
        return original(cfg_path, filename)

    with _patching:
        Config._get_cfg_path = staticmethod(look_up)
        try:
            yield
        finally:
            Config._get_cfg_path = staticmethod(original)


def plain(value: Any) -> Any:
    """Return a deep copy of a config value as plain dicts, lists and tuples.

    Classes of new-style configs become type names.
    """
    if type(value).__name__ in ('LazyObject', 'LazyAttr'):
        value = value.build()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, type) or callable(value):
        module = value.__module__ or ''  # None for functions that a config file defines
        package = module.partition('.')[0]
        return (
            f'{package}.{value.__name__}'
            if package.startswith('mm')
            else f'{module}.{value.__qualname__}'
        )
    return value


def _without_scope(value: Any, scope: str) -> Any:
    """Remove ``_scope_`` entries that are equal to the default scope."""
    if isinstance(value, dict):
        return {
            k: _without_scope(v, scope)
            for k, v in value.items()
            if not (k == '_scope_' and v == scope)
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_without_scope(item, scope) for item in value)
    return value


def load_config(cfg: Config | dict | str | Path) -> dict:
    """Read a config into plain containers with merged bases, without imports of ``custom_imports``.

    Args:
        cfg: mmengine Config, dict, path, or ``package::path``; it is not changed.

    Raises:
        SwapError: the file is missing or does not load, or the config has no model.
    """
    if isinstance(cfg, (str, Path)):
        path = resolve(str(cfg))
        try:
            with _own_package_look_up():
                cfg, name = Config.fromfile(str(path), import_custom_modules=False), str(path)
        except (
            Exception
        ) as error:  # a config is a program that may raise any error, such as a missing base
            raise SwapError(
                f'config {path} does not load: {type(error).__name__}: {error}'
            ) from error
    else:
        name = getattr(cfg, 'filename', None) or 'the given config'
    items = cfg._cfg_dict if isinstance(cfg, Config) else cfg
    if not isinstance(items, Mapping):
        raise SwapError(
            'cfg must be a Config, a dict, a path or a package::path name, got '
            f'{type(cfg).__name__}'
        )
    result = plain({key: items[key] for key in items})
    if not isinstance(result.get('model'), dict):
        raise SwapError(f"{name} has no 'model': expected a complete config")
    return _without_scope(result, result.get('default_scope') or 'mmseg')
