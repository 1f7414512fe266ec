"""Workers end with their parent, also where it is killed."""

import os
import subprocess
import sys
import time

import pytest

POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from mmbsa.utils.processes import end_with_parent

with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
    jobs = [pool.submit(time.sleep, 0.2) for _ in range(2)]
    [job.result() for job in jobs]
    print(*pool._processes, flush=True)
    time.sleep(60)
"""
LOADER = """
import os, sys, time
from functools import partial
import numpy as np
from torch.utils.data import DataLoader
from mmbsa.utils.processes import init_worker

class Data:
    def __len__(self):
        return 100

    def __getitem__(self, index):
        return np.zeros(100_000), index  # more than a pipe holds

loader = DataLoader(Data(), batch_size=None, num_workers=2, collate_fn=lambda sample: sample,
                    prefetch_factor=8, worker_init_fn=partial(init_worker, None))
iterator = iter(loader)
next(iterator)
time.sleep(1)
print(*(worker.pid for worker in iterator._workers), flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='looks at /proc')
@pytest.mark.parametrize('script', [POOL, LOADER], ids=['pool', 'loader'])
def test_workers_end_with_a_parent_that_is_killed(script):
    parent = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2 and all(map(alive, workers))
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, 9)
    assert not left
