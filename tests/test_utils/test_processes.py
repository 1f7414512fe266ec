"""Workers end with their parent, also where it is killed."""

import os
import subprocess
import sys
import time

import pytest
import torch

from mmbsa.utils.processes import lost_worker, watch_parent

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


UNSENT = """
from torch.utils.data import DataLoader
from mmbsa.utils.processes import lost_worker, watch_parent

class Data:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return (lambda: index) if index == 2 else index  # which cannot be pickled

loader = DataLoader(Data(), batch_size=None, num_workers=1, collate_fn=lambda sample: sample)
watch_parent(loader)
watch_parent(loader)
print(list(loader))
"""


def test_a_batch_that_cannot_be_sent_ends_the_run():
    run = subprocess.run(
        [sys.executable, '-c', UNSENT], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 1 and 'exited unexpectedly' in run.stderr
    assert 'error: a data worker cannot send a batch: ' in run.stderr


def test_a_loaders_own_initialisation_is_kept():
    from functools import partial

    from torch.utils.data import DataLoader

    seen = []
    loader = DataLoader([1], worker_init_fn=seen.append)
    watch_parent(loader)
    once = loader.worker_init_fn
    watch_parent(loader)
    assert loader.worker_init_fn is once and isinstance(once, partial)
    once.args[0](3)
    assert seen == [3]


class Pictures(torch.utils.data.Dataset):
    """Tensors; number 1 is a file that is not there."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 1:
            raise FileNotFoundError('1.jpg')
        return torch.zeros(8)


def test_lost_worker_is_named_where_the_connection_breaks(monkeypatch):
    def broken(*args):
        raise ConnectionResetError('reset by peer')

    loader = torch.utils.data.DataLoader(Pictures(), num_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr('multiprocessing.connection.answer_challenge', broken)
        with pytest.raises(ConnectionResetError) as caught:
            next(iter(loader))
    found = lost_worker(caught.value)
    assert 'a DataLoader worker ended' in found and 'killed by signal' in found
    with pytest.raises(FileNotFoundError) as caught:
        list(loader)
    assert lost_worker(caught.value) is None
    assert lost_worker(ConnectionResetError('of something else')) is None
