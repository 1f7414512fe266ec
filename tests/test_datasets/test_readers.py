"""SpikingJelly's readers load with whatever torchaudio an installation happens to have."""

import os
import subprocess
import sys

import pytest

ASK = """
import sys
from mmbsa.datasets.readers import spikingjelly_readers
readers = spikingjelly_readers()
print(readers.NMNIST.__name__, 'torchaudio' in sys.modules, spikingjelly_readers() is readers)
"""


@pytest.mark.parametrize(
    'error', ['RuntimeError("made for another CUDA")', 'OSError("no symbol")', 'ImportError("no")']
)
def test_torchaudio_that_does_not_load(tmp_path, error):
    (tmp_path / 'torchaudio').mkdir()
    (tmp_path / 'torchaudio' / '__init__.py').write_text(f'raise {error}')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    run = subprocess.run(
        [sys.executable, '-c', ASK],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split()[-3:] == ['NMNIST', 'False', 'True']
