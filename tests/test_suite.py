"""The test suite itself: every module has tests in the folder that mirrors its package."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted((ROOT / 'tests').rglob('test_*.py'))
MODULES = sorted(
    path
    for path in (ROOT / 'mmbsa').rglob('*.py')
    if path.name not in ('__init__.py', '__main__.py')
)

#: modules that are tested through what uses them -> the file that does it.
TESTED_IN = {
    **dict.fromkeys(
        [
            f'converters/{name}.py'
            for name in (
                'isotropic',
                'metaformer',
                'qkformer',
                'sdt_v3',
                'sdt_v3_large',
                'semm',
                'sglformer',
                'spikformer',
                'spikingformer',
                'swformer',
                'tim',
            )
        ],
        'test_converters/test_parity.py',
    ),
    **dict.fromkeys(
        [f'converters/{name}.py' for name in ('sdt_v2_det', 'sdtv3_det', 'spike_heads')],
        'test_converters/test_detection_parity.py',
    ),
    'apis/swap/plan.py': 'test_tools/test_swap_backbone.py',
    'datasets/tracking/base.py': 'test_datasets/test_tracking/test_moving_targets.py',
    'engine/checkpoint_hook.py': 'test_engine/test_resume.py',
    'engine/energy_hook.py': 'test_energy/test_energy_hook.py',
    'engine/lamb.py': 'test_models/test_cls_head.py',
    'engine/non_finite_loss_hook.py': 'test_engine/test_non_finite_loss_hook.py',
    'evaluation/tracking_results.py': 'test_tools/test_eval_tracks.py',
    'models/backbones/isotropic.py': 'test_models/test_backbones/test_spikformer.py',
    'models/backbones/metaformer.py': 'test_models/test_backbones/test_espikeformer.py',
    'models/backbones/time_major.py': 'test_models/test_wrong_configs.py',
    'models/segmentation/heads/spike2former/feed_forward.py': (
        'test_converters/test_spike2former_parity.py'
    ),
    'models/segmentation/heads/spike2former/transformer.py': (
        'test_converters/test_spike2former_parity.py'
    ),
    'ops/bipolar_attention/exact_rows.py': 'test_ops/test_bipolar_exactness.py',
    'ops/bipolar_attention/triton_backward.py': 'test_ops/test_bipolar_triton.py',
    'spiking/attention.py': 'test_models/test_matrix.py',
    'structures/track_data_sample.py': 'test_datasets/test_tracking/test_moving_targets.py',
    'utils/errors.py': 'test_engine/test_data_guard_hook.py',
    'visualization/label_map_hook.py': 'test_tools/test_test.py',
    'visualization/tracking_plots.py': 'test_tools/test_eval_tracks.py',
}


def public_names(module: Path) -> list[str]:
    """Names of a module's functions, classes and constants without a leading underscore."""
    names = []
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith('_')]


@cache
def words(folder: Path) -> frozenset[str]:
    """All identifiers in the test files of a folder and of those below it."""
    text = '\n'.join(path.read_text() for path in sorted(folder.rglob('test_*.py')))
    return frozenset(re.findall(r'\w+', text))


def test_file_names_are_unique():
    counts = Counter(path.name for path in TESTS)
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize('path', TESTS, ids=lambda path: path.stem)
def test_function_names_have_a_unit_and_a_behaviour(path):
    names = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')
    ]
    assert names, 'a test file without a test'
    assert [name for name in names if name.count('_') < 2] == []


def test_exceptions_name_modules_that_exist():
    assert [name for name in TESTED_IN if not (ROOT / 'mmbsa' / name).is_file()] == []


@pytest.mark.parametrize('module', MODULES, ids=lambda path: str(path.relative_to(ROOT / 'mmbsa')))
def test_module_has_tests_in_the_mirrored_folder(module):
    name = module.relative_to(ROOT / 'mmbsa').as_posix()
    if name in TESTED_IN:
        assert (ROOT / 'tests' / TESTED_IN[name]).is_file()
        return
    package = name.split('/')[0]
    folder = ROOT / 'tests' / f'test_{package}'
    if not folder.is_dir():
        folder = ROOT / 'tests'
    names = {module.stem, *public_names(module)}
    assert names & words(folder), f'no test below {folder.relative_to(ROOT)} names one of {names}'
