"""The package works without the clone: a wheel, built from a source distribution, in a folder of
its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ('mmbsa', 'configs', 'tools', 'requirements')
FILES = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml')
CHECK = """
import pathlib
import runpy
import sys

import torch
import mmbsa.models
from mmbsa.apis import find_config
from mmbsa.ops import bipolar_attention, implementations

folder = pathlib.Path(mmbsa.models.__file__).parents[2]
assert folder == pathlib.Path(sys.argv[1]).resolve(), folder
assert find_config('bsa_quickstart').is_relative_to(folder)
q, k = torch.randint(-1, 2, (2, 2, 8, 4)).float()
names = implementations('bipolar_attention')
outs = [bipolar_attention(q, k, torch.rand(2, 8, 3), impl=name) for name in names]
print('implementations', *names)
runpy.run_module('mmbsa', run_name='__main__')
sys.argv = ['print_config.py', 'bsa_quickstart', '--key', 'model.backbone.type']
tool = folder / 'mmbsa/.mim/tools/analysis_tools/print_config.py'
runpy.run_path(str(tool), run_name='__main__')
"""


def run(command, cwd, **env):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder with the installed wheel, far from the clone."""
    for package in ('setuptools', 'pip'):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed: a wheel cannot be built')
    clone, out = tmp_path_factory.mktemp('clone'), tmp_path_factory.mktemp('out')
    for name in SOURCES:
        ignore = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, clone / name, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, clone)
    run(['setup.py', '-q', 'sdist', '-d', out], clone, PYTHONPATH='')
    (source,) = out.glob('*.tar.gz')
    pip = ['-m', 'pip', '-q', '--disable-pip-version-check']
    quiet = ['--no-deps', '--no-index']
    run([*pip, 'wheel', *quiet, '--no-build-isolation', '-w', out, source], out, PYTHONPATH='')
    shutil.rmtree(clone)
    (wheel,) = out.glob('*.whl')
    target = tmp_path_factory.mktemp('target')
    run([*pip, 'install', *quiet, '--target', target, wheel], out, PYTHONPATH='')
    return wheel, target


def files(folder):
    """Paths of the files below a folder, without what Python leaves there."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and '.mim' not in path.parts
    }


def test_wheel_holds_everything(installed):
    wheel, _ = installed
    names = {name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}
    expected = {f'mmbsa/{name}' for name in files(ROOT / 'mmbsa')}
    for name in ('configs', 'tools'):
        expected |= {f'mmbsa/.mim/{name}/{file}' for file in files(ROOT / name)}
    assert names == expected | {'mmbsa/.mim/model-index.yml'}


def test_installed_package_works_without_the_clone(installed, tmp_path):
    pytest.importorskip('mmseg')
    _, target = installed
    # ``python -m mmbsa`` and a tool run in the same process, because each imports for seconds
    out = run(['-c', CHECK, target], tmp_path, PYTHONPATH=str(target), OMP_NUM_THREADS='1')
    implementations = next(line for line in out.splitlines() if line.startswith('implementations'))
    assert 'reference' in implementations
    if shutil.which('c++') or shutil.which('g++'):
        assert 'native' in implementations
    assert 'Packages\n' in out and 'bipolar_attention, reference: available' in out
    assert "type = 'mmbsa.ESpikeFormer'" in out
    assert not list(tmp_path.iterdir())
