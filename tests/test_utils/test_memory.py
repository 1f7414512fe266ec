"""Keeping freed memory: what a process pays for pages that it has had before, and who may say otherwise."""
import os
import subprocess
import sys

import pytest

#: page faults of tensors of 64 MiB, made and freed, before and after the switch is thrown; the first ones extend the heap.
SCRIPT = """
import resource, torch
from mmbsa.utils.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), keep_freed_memory(), faults(), faults(), keep_freed_memory(False), faults())
"""


def run(**variables) -> tuple[int, str, int, str, int]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(('MALLOC_', 'GLIBC_TUNABLES'))}
    done = subprocess.run([sys.executable, '-c', SCRIPT], env=clean | variables, capture_output=True, text=True, check=True)
    before, kept, _, after, given_back, last = done.stdout.split()
    return int(before), kept, int(after), given_back, int(last)


@pytest.mark.skipif(not sys.platform.startswith('linux') or os.confstr('CS_GNU_LIBC_VERSION') is None,
                    reason='the switch is glibc\'s')
def test_pages_are_touched_once():
    before, kept, after, given_back, last = run()
    assert kept == given_back == 'True'
    assert before > 1000 and after < before / 50 and last > before / 2


@pytest.mark.parametrize('variable', ['MALLOC_TRIM_THRESHOLD_', 'GLIBC_TUNABLES'])
def test_the_users_own_settings_stand(variable):
    assert run(**{variable: '1048576' if variable.startswith('MALLOC') else 'glibc.malloc.check=0'})[1] == 'False'
