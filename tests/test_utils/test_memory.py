"""Peak memory of a call, and freed memory: page faults, resident pages, user settings."""

import json
import os
import subprocess
import sys

import pytest
import torch

from mmbsa.utils.memory import peak_memory

#: page faults of tensors of 64 MiB, made and freed, before and after the switch is thrown (the
#: first ones extend the heap); then the pages of the process before and after it gives back.
SCRIPT = """
import json, resource, torch
from mmbsa.utils.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def pages():
    return int(open('/proc/self/statm').read().split()[1])
found = dict(before=faults(), kept=keep_freed_memory(), extending=faults(), after=faults())
found |= dict(held=pages(), given_back=keep_freed_memory(False), left=pages())
print(json.dumps(found))
"""


def run(**variables) -> dict:
    return run_script(SCRIPT, **variables)


def run_script(script: str, **variables):
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('MALLOC_', 'GLIBC_TUNABLES'))
    }
    done = subprocess.run(
        [sys.executable, '-c', script],
        env=clean | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith('linux') or os.confstr('CS_GNU_LIBC_VERSION') is None,
    reason="the switch is glibc's",
)
def test_pages_are_touched_once_and_given_back():
    found, tensor = run(), (64 << 20) // os.sysconf('SC_PAGE_SIZE')
    assert found['kept'] and found['given_back']
    assert (
        found['before'] > 500 and found['after'] < found['before'] / 50
    )  # huge pages make fewer of them
    assert found['held'] - found['left'] > 0.9 * tensor


@pytest.mark.parametrize(
    'variable, value',
    [('MALLOC_TRIM_THRESHOLD_', '1048576'), ('GLIBC_TUNABLES', 'glibc.malloc.check=0')],
)
def test_the_users_own_settings_stand(variable, value):
    assert not run(**{variable: value})['kept']


@pytest.mark.skipif(
    not sys.platform.startswith('linux') or os.confstr('CS_GNU_LIBC_VERSION') is None,
    reason="the switch is glibc's",
)
def test_holes_are_given_back():
    script = """
import json, torch
from mmbsa.utils.memory import give_back_freed_memory
def pages():
    return int(open('/proc/self/statm').read().split()[1])
found = [give_back_freed_memory()]
tensors = [torch.ones(1 << 20) for _ in range(32)]
found.append(pages())
del tensors[::2]
found.append(pages())
print(json.dumps(found))
"""
    done, before, after = run_script(script)
    assert done and before - after > 0.9 * 16 * (4 << 20) // os.sysconf('SC_PAGE_SIZE')


def test_peak_memory_counts_the_tensors_of_one_call():
    kept = torch.zeros(1000)  # not part of the call

    def call():
        first = torch.zeros(256 << 10)  # 1 MiB
        second = first + 1  # 2 MiB
        del first
        third = torch.zeros(128 << 10)  # 1.5 MiB
        return (second.sum() + third.sum() + kept.sum()).item()

    torch.ones(8 << 20)  # a larger tensor before the call does not count
    peak = peak_memory(call, 'cpu')
    assert 2 << 20 <= peak <= (2 << 20) + 4096
