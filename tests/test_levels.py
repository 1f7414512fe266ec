"""A file imports its own level or a lower one, each mm package has its own place, and
``import mmbsa`` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / 'mmbsa'
LEVELS = {
    'ops': 0,
    'events': 0,
    'spiking': 1,
    'registry': 1,
    'version': 1,
    'utils': 1,
    'structures': 1,
    '': 1,
    '__main__': 1,
    'models.neurons': 2,
    'models.encoders': 2,
    'models.layers': 2,
    'models.attentions': 3,
    'models.backbones': 4,
    'models.necks': 4,
    'models.classification': 5,
    'models.segmentation': 5,
    'models.detection': 5,
    'models.tracking': 5,
    'models.points': 5,
    'models': 6,
    'converters': 6,
    'deploy': 6,
    'datasets': 6,
    'evaluation': 6,
    'energy': 6,
    'engine': 6,
    'visualization': 6,
    'apis': 7,
}
#: packages beside the models: they use levels 0 and 1 and each other, and never ``models``.
SIDE = {'datasets', 'evaluation', 'energy', 'engine', 'visualization'}
#: package -> folders or files that may import it.
ONLY_IN = {
    'spikingjelly': ('models/neurons/', 'models/encoders/', 'datasets/'),
    'mmseg': ('models/segmentation/', 'datasets/', 'apis/', 'engine/', 'visualization/'),
    'mmdet': ('models/detection/', 'datasets/', 'apis/', 'engine/', 'visualization/'),
    'mmpretrain': ('models/classification/', 'models/points/', 'datasets/', 'apis/'),
    'triton': ('/triton.py', '/triton_backward.py', '/triton_support.py'),
}
FILES = sorted(ROOT.rglob('*.py'))


def module_of(file: Path) -> str:
    """``mmbsa/models/neurons/build.py`` -> ``mmbsa.models.neurons.build``; a package is its
    folder."""
    parts = ('mmbsa', *file.relative_to(ROOT).with_suffix('').parts)
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def place(module: str) -> str:
    """``mmbsa.models.neurons.build`` -> ``models.neurons``, the longest entry of ``LEVELS`` that it
    begins with."""
    parts = module.split('.')[1:]
    for length in range(len(parts), 0, -1):
        if '.'.join(parts[:length]) in LEVELS:
            return '.'.join(parts[:length])
    return parts[0] if parts else ''


def imports(file: Path):
    """Every imported module name of a file, with relative imports resolved and function-local ones
    included."""
    here = module_of(file)
    package = here if file.name == '__init__.py' else here.rpartition('.')[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = package.split('.')
                base = '.'.join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for (
                alias
            ) in node.names:  # a name may be a package itself, as in `from mmbsa import models`
                named = f'{base}.{alias.name}'
                yield named if (ROOT.parent / Path(*named.split('.'))).is_dir() else base


def test_every_package_has_a_level():
    places = {place(module_of(file)) for file in FILES}
    assert places <= set(LEVELS), f'add a level for {places - set(LEVELS)}'
    tasks = {
        f'models.{folder.name}'
        for folder in (ROOT / 'models').iterdir()
        if (folder / '__init__.py').exists()
    }
    assert tasks <= set(LEVELS), f'add a level for {tasks - set(LEVELS)}'


@pytest.mark.parametrize('file', FILES, ids=module_of)
def test_no_file_imports_a_higher_level(file):
    here = place(module_of(file))
    for module in imports(file):
        if module.split('.')[0] != 'mmbsa':
            continue
        there = place(module)
        assert LEVELS[there] <= LEVELS[here], f'{file} may not import {module}'
        if here in SIDE:
            assert not there.startswith(('models', 'converters', 'deploy')), (
                f'{file} may not import {module}'
            )
        if (
            here.startswith('models.')
            and there.startswith('models.')
            and LEVELS[here] == LEVELS[there] == 5
        ):
            assert here == there, f'{file}: a task package may not import another, {module}'


def test_spiking_imports_torch_alone():
    outside = {
        module.split('.')[0]
        for file in FILES
        if place(module_of(file)) == 'spiking'
        for module in imports(file)
    }
    assert outside - set(sys.stdlib_module_names) <= {'torch', 'mmbsa'}


@pytest.mark.parametrize('package', sorted(ONLY_IN))
def test_neighbours_are_imported_in_their_own_places(package):
    bad = [
        str(file.relative_to(ROOT))
        for file in FILES
        if any(m == package or m.startswith(package + '.') for m in imports(file))
        and not any(folder in '/' + str(file.relative_to(ROOT)) for folder in ONLY_IN[package])
    ]
    assert not bad, f'{package} is imported outside {ONLY_IN[package]}: {bad}'


def test_import_is_light():
    code = (
        'import sys, torch; before = set(sys.modules); import mmbsa; '
        'print(sorted(set(sys.modules) - before))'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout
    heavy = {'triton', 'mmseg', 'mmcv', 'mmengine', 'mmdet', 'mmpretrain', 'spikingjelly', 'timm'}
    assert not heavy & set(ast.literal_eval(out))
