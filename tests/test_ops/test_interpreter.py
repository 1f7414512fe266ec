"""Triton kernels without a GPU: the tests that need one, ``test_*_triton.py``, run in Triton's
interpreter.

Whether a kernel is interpreted is decided when it is defined, so these tests get a process of their
own. Where there is a CUDA device they are collected like any other test, and run on it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmbsa.ops import triton_support

HERE = Path(__file__).parent


@pytest.mark.skipif(not triton_support.INSTALLED, reason='triton is not installed')
@pytest.mark.skipif(
    torch.cuda.is_available() or triton_support.INTERPRETED,
    reason='the files are collected themselves',
)
@pytest.mark.parametrize('file', sorted(HERE.glob('test_*_triton.py')), ids=lambda f: f.stem)
def test_interpreter_runs_the_kernel_tests(file):
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-x', str(file)],
        cwd=HERE.parents[1],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, (
        run.stdout[-6000:] + run.stderr[-2000:]
    )  # no tests at all would be 5
