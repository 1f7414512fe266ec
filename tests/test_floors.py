"""The house has floors: a file imports its own floor or a lower one, and ``import mmbsa`` stays light."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / 'mmbsa'
FLOORS = {
    'ops': 0, 'events': 0,
    'version': 1, 'registry': 1, 'utils': 1, 'structures': 1,
    'models.neurons': 2, 'models.encoders': 2, 'models.layers': 2,
    'models.attentions': 3,
    'models.backbones': 4, 'models.classifiers': 4, 'models.cls_heads': 4, 'models.necks': 4, 'models.decode_heads': 4,
    'models.data_preprocessors': 4, 'models.losses': 4, 'models.detection': 4, 'models.track_heads': 4,
    'converters': 5, 'models.trackers': 5,
    'models': 5,
    'datasets': 6, 'evaluation': 6, 'energy': 6, 'engine': 6, 'visualization': 6,
    'apis': 7,
    '': 1,
}
WINGS = {'datasets', 'evaluation', 'energy', 'engine', 'visualization'}
ONLY_IN = {
    'spikingjelly': ('models/neurons/', 'models/encoders/', 'datasets/'),
    'mmseg': ('models/decode_heads/', 'datasets/', 'apis/', 'engine/', 'visualization/'),
    'mmdet': ('models/detection/',),
    'triton': ('/triton.py', '/triton_backward.py'),
    'mmpretrain': ('datasets/', 'apis/', 'models/losses/', 'models/cls_heads/',
                   'models/data_preprocessors/'),
}


def place(module: str) -> str:
    """``mmbsa.models.neurons.x`` -> ``models.neurons``."""
    parts = module.split('.')[1:]
    if parts[:1] == ['models'] and len(parts) > 1 and f'models.{parts[1]}' in FLOORS:
        return f'models.{parts[1]}'
    return parts[0] if parts else ''


def imports(path: Path):
    """Yield every imported module name of a file, function-local imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level or node.module is None or node.level == 1, f'{path}: import absolutely'
            if node.level == 0 and node.module in ('mmbsa', 'mmbsa.models'):  # packages are imported by name from these
                yield from (f'{node.module}.{alias.name}' for alias in node.names)
            elif node.level == 0:
                yield node.module


FILES = sorted(ROOT.rglob('*.py'))


def test_every_folder_has_a_floor():
    places = {place('.'.join(('mmbsa', *f.relative_to(ROOT).with_suffix('').parts))) for f in FILES}
    assert places - {'__init__'} <= set(FLOORS), f'add a floor for {places - set(FLOORS)}'


def test_no_file_imports_a_higher_floor():
    bad = []
    for file in FILES:
        here = place('.'.join(('mmbsa', *file.relative_to(ROOT).with_suffix('').parts)))
        here = '' if here == '__init__' else here
        for module in imports(file):
            if not module.startswith('mmbsa.'):
                continue
            there = place(module)
            upward = FLOORS.get(there, 1) > FLOORS[here]
            wing_to_models = here in WINGS and there.startswith('models')
            if upward or wing_to_models:
                bad.append(f'{file.relative_to(ROOT)} may not import {module}')
    assert not bad, '\n'.join(bad)


@pytest.mark.parametrize('package', sorted(ONLY_IN))
def test_neighbours_are_imported_in_their_own_rooms(package):
    bad = [str(f.relative_to(ROOT)) for f in FILES
           if any(m == package or m.startswith(package + '.') for m in imports(f))
           and not any(room in '/' + str(f.relative_to(ROOT)) for room in ONLY_IN[package])]
    assert not bad, f'{package} is imported outside {ONLY_IN[package]}: {bad}'


def test_import_is_light():
    code = ('import sys, time, torch; before = set(sys.modules); start = time.process_time(); import mmbsa; '
            'print(time.process_time() - start, sorted(set(sys.modules) - before))')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    seconds, modules = out.split(' ', 1)
    assert float(seconds) < 0.1
    heavy = {'triton', 'mmseg', 'mmcv', 'mmengine', 'spikingjelly', 'timm'}
    assert not heavy & set(ast.literal_eval(modules))
