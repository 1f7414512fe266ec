"""mmbsa/utils/environment.py: ``python -m mmbsa`` says what is here and what is not."""

import importlib.util
import subprocess
import sys

import torch

from mmbsa.ops.dispatch import implementations
from mmbsa.utils import environment
from mmbsa.version import __version__


def test_report_of_the_command_names_versions_and_kernels():
    done = subprocess.run(
        [sys.executable, '-m', 'mmbsa'], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f'mmbsa {__version__}' in done.stdout and f'torch {torch.__version__}' in done.stdout
    assert 'bipolar_attention, reference: available' in done.stdout


def test_kernels_agree_with_the_dispatch_table():
    for op, table in environment.kernels().items():
        able = [name for name, state in table.items() if state == 'available']
        assert able == implementations(op)


def test_missing_packages_are_named_with_their_purpose(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *rest: None if name == 'nir' else find(name, *rest),
    )
    assert environment.missing_packages()['nir'] == 'NIR export'
    assert 'nir (for NIR export)' in environment.report()
    assert not any(
        line.startswith('  nir ') for line in environment.report().split('Not')[0].splitlines()
    )


def test_untried_version_is_remarked(monkeypatch):
    monkeypatch.setitem(environment.BOUNDS, 'torch', (('torch',), '1.0', '1.1'))
    assert '(tried: >= 1.0, < 1.1)' in environment.packages()['torch']


def test_environment_variables_of_ours_are_listed(monkeypatch):
    monkeypatch.setenv('MMBSA_OPS_IMPL', 'reference')
    assert '  MMBSA_OPS_IMPL=reference' in environment.report()
