"""The steps of CONTRIBUTING.md work as they are written: the code of the page is run, and nothing
else is touched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'CONTRIBUTING.md').read_text()
CHECK = """
import timm
import mmbsa.models
from mmbsa.apis.swap.names import backbone_config
from mmbsa.registry import MODELS

assert backbone_config('myformer-s') == dict(type='mmbsa.MyFormer', arch='s')
assert backbone_config('espikeformer-m-mean')['attention'] == dict(type='mmbsa.MeanAttention')
assert 'myformer_s' in timm.list_models('myformer*') and timm.is_model('myformer_s_bsa')
model = timm.create_model('myformer_s', num_classes=3)
assert model.pretrained_cfg['crop_pct'] == 0.9
"""


def code(name):
    """The block of the page that is marked with ``name``."""
    return re.search(rf'```python {name}\n(.*?)```', PAGE, re.S).group(1)


@pytest.fixture(scope='module')
def module(tmp_path_factory):
    """A folder with the page's attention and family as one module of a user's project."""
    folder = tmp_path_factory.mktemp('project')
    (folder / 'my_attention.py').write_text(code('attention'))
    (folder / 'my_former.py').write_text(code('family'))
    (folder / 'my_project.py').write_text('import my_attention, my_former  # noqa\n')
    return folder


def run(folder, *command):
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')]),
    )
    env.pop('PYTEST_XDIST_WORKER', None)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_matrix_finds_the_new_family_and_kind(module):
    out = run(
        module,
        '-m',
        'pytest',
        'tests/test_models/test_matrix.py',
        '-p',
        'my_project',
        '-p',
        'no:cacheprovider',
        '-p',
        'no:xdist',
        '-k',
        'MyFormer or (MeanAttention and (QKFormer or ESpikeFormer))',
    )
    assert int(re.search(r'(\d+) passed', out).group(1)) > 30 and 'failed' not in out


def test_names_follow_the_registry(module):
    run(module, '-c', 'import my_project\n' + CHECK)
    run(module, '-c', CHECK.replace('import mmbsa.models', 'import mmbsa.models, my_project'))
