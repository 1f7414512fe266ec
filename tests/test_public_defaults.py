"""Defaults of arguments, and tables of facts (sensors, classes, palettes, presets, limits, measured
sizes of kernels): users rely on them without naming them, so a change must be intended.

``python tests/test_public_defaults.py`` writes the stored ones again, after an intended change;
``git diff`` shows what changed, one line per value.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

STORED = Path(__file__).resolve().parent / 'data' / 'public_defaults.json'
PACKAGES = ('ops', 'models', 'engine', 'events', 'datasets', 'structures', 'spiking')
PLAIN = (int, float, str, bytes, type(None), range)


def is_plain(value):
    if isinstance(value, dict):
        return all(is_plain(item) for pair in value.items() for item in pair)
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(is_plain, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return all(is_plain(getattr(value, f.name)) for f in dataclasses.fields(value))
    return isinstance(value, PLAIN)


def text(value):
    return repr(sorted(value) if isinstance(value, set | frozenset) else value)


def defaults_of(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # classes written in C have no signature
        return {}
    return {p.name: text(p.default) for p in parameters if is_plain(p.default)}


def imported_names(owner):
    """Names that a module has from another one."""
    if not inspect.ismodule(owner):
        return set()
    imports = (
        n for n in ast.walk(ast.parse(inspect.getsource(owner))) if isinstance(n, ast.ImportFrom)
    )
    return {alias.asname or alias.name for node in imports for alias in node.names}


def values_of(owner, name):
    """Plain values of a module or class, and defaults of its functions."""
    elsewhere = imported_names(owner)
    for key, value in sorted(vars(owner).items()):
        hidden = key.startswith('_') and key != '__init__'
        hidden = hidden and (not key.isupper() or isinstance(value, str))
        if key in elsewhere or hidden:
            continue
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if is_plain(value):
            yield f'{name}.{key}', text(value)
        elif inspect.isfunction(value):
            if value.__module__ == getattr(owner, '__module__', owner.__name__):
                for argument, default in defaults_of(value).items():
                    yield f'{name}.{key}({argument})', default
        elif inspect.isclass(value) and value.__module__ == name:
            yield from values_of(value, f'{name}.{key}')


#: values that describe the machine
OF_THE_MACHINE = ('mmbsa.ops.triton_support.INSTALLED', 'mmbsa.ops.triton_support.INTERPRETED')


def found_values():
    """Values of all modules, and the modules that need a package which is missing (Triton)."""
    values, missing = {}, []
    for package in PACKAGES:
        root = importlib.import_module(f'mmbsa.{package}')
        modules = pkgutil.walk_packages(root.__path__, f'{root.__name__}.')
        for name in [root.__name__, *(module.name for module in modules)]:
            try:
                values.update(values_of(importlib.import_module(name), name))
            except ModuleNotFoundError as error:
                if (error.name or '').startswith('mmbsa'):
                    raise
                missing.append(name)
    return {key: value for key, value in values.items() if key not in OF_THE_MACHINE}, missing


@pytest.mark.seg
def test_defaults_and_tables_are_the_stored_ones():
    """In a process of its own: a compiler may add names to modules."""
    for package in ('mmseg', 'mmpretrain', 'mmdet', 'h5py'):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, __file__, '--print'], capture_output=True, text=True, check=True
    )
    found, missing = json.loads(done.stdout.splitlines()[-1])
    stored = {
        key: value
        for key, value in json.loads(STORED.read_text()).items()
        if not key.startswith(tuple(f'{name}.' for name in missing))
    }
    changed = {
        key: (stored.get(key), found.get(key))
        for key in stored | found
        if stored.get(key) != found.get(key)
    }
    assert not changed, 'intended? then run python tests/test_public_defaults.py'


if __name__ == '__main__':
    values, lacking = found_values()
    if sys.argv[1:] == ['--print']:
        print(json.dumps([values, lacking]))
    elif lacking:
        sys.exit(f'cannot import {lacking}: nothing is written')
    else:
        STORED.write_text(json.dumps(values, indent=0, sort_keys=True) + '\n')
