"""What all tests share."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest

if (
    int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1)) > 1
):  # read by torch, which is not imported yet
    os.environ.setdefault(
        'OMP_NUM_THREADS',
        str(max(os.cpu_count() // int(os.environ['PYTEST_XDIST_WORKER_COUNT']), 1)),
    )


@pytest.fixture(scope='session')
def shared_path():
    """Return a function that finds a file or folder of the shared data, or skips the test with the
    reason.

    They lie beside the checkout (``../shared``) or where ``MMBSA_SHARED`` says; nothing of them is
    in the repo.
    """
    root = Path(os.environ.get('MMBSA_SHARED', Path(__file__).resolve().parents[2] / 'shared'))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(
                f'{name} is not in {root} (set MMBSA_SHARED to the folder of the shared data)'
            )
        return path

    return find


def _default_scope_stays():
    """Give the default scope back; runners and ``init_default_scope`` leave theirs behind."""
    scope = pytest.importorskip('mmengine.registry').DefaultScope
    before = dict(scope._instance_dict)
    yield
    scope._instance_dict = OrderedDict(before)


#: for tests, and for fixtures of a whole module.
function_scope = pytest.fixture(autouse=True)(_default_scope_stays)
module_scope = pytest.fixture(autouse=True, scope='module')(_default_scope_stays)
