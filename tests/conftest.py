"""What all tests share."""
import os
from pathlib import Path

import pytest

if int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1)) > 1:  # read by torch, which is not imported yet
    os.environ.setdefault('OMP_NUM_THREADS', str(max(os.cpu_count() // int(os.environ['PYTEST_XDIST_WORKER_COUNT']), 1)))


@pytest.fixture(scope='session')
def shared_path():
    """Return a function that finds a file or folder of the shared data, or skips the test with the reason.

    They lie beside the checkout (``../shared``) or where ``MMBSA_SHARED`` says; nothing of them is in the repo.
    """
    root = Path(os.environ.get('MMBSA_SHARED', Path(__file__).resolve().parents[2] / 'shared'))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f'{name} is not in {root} (set MMBSA_SHARED to the folder of the shared data)')
        return path

    return find


@pytest.fixture(autouse=True)
def default_scope_stays():
    """Give the default scope back that a test found; runners and ``init_default_scope`` leave theirs behind."""
    scopes = pytest.importorskip('mmengine.registry').DefaultScope._instance_dict
    before = dict(scopes)
    yield
    scopes.clear()
    scopes.update(before)
