"""Worker processes that end together with their parent process."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.queues import Queue

from torch.utils.data import DataLoader


def end_with_parent() -> None:
    """Make this worker process end when its parent ends, also after a SIGKILL.

    Otherwise workers of a process pool wait for work forever, because each of them holds both ends
    of the pipe of the work. Use it as the ``initializer`` of a pool.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _end_worker(error: Exception, batch: object) -> None:
    print(
        f'error: a data worker cannot send a batch: {error}. There is no free memory or shared '
        'memory (/dev/shm), or the batch cannot be pickled; lower num_workers, '
        'prefetch_factor or batch_size',
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def watch_parent(loader: DataLoader) -> None:
    """Make the workers of a data loader end together with the process that uses it."""
    init = loader.worker_init_fn
    if not (isinstance(init, partial) and init.func is init_worker):
        loader.worker_init_fn = partial(init_worker, init)


def lost_worker(error: BaseException) -> str | None:
    """Return a message if an error means that a data worker was killed while sending, else None.

    torch names a worker that is killed at another moment ("DataLoader worker (pid ...) is killed by
    signal"). If the connection to it breaks while a batch arrives, the error only names the
    connection.
    """
    if not isinstance(error, ConnectionError | EOFError | FileNotFoundError):
        return None
    frames = traceback.walk_tb(error.__traceback__)
    files = [frame.f_code.co_filename.replace('\\', '/') for frame, _ in frames]
    inside = [
        index for index, name in enumerate(files) if name.endswith('torch/utils/data/dataloader.py')
    ]
    if not inside or not any('multiprocessing' in name for name in files[inside[-1] + 1 :]):
        return None
    return (
        'a DataLoader worker ended while it sent a batch, most likely killed by signal (a machine '
        'without free memory does that); lower num_workers, prefetch_factor or batch_size '
        f'({type(error).__name__}: {error})'
    )


def init_worker(inner: Callable[[int], None] | None, worker: int) -> None:
    """Initialise a data worker by ``inner``, and make it end with its parent.

    torch's own workers check that their parent runs. But they do not end if their last batch fills
    a pipe that no process reads. If no shared memory is left, they print an error and drop the
    batch, and the training waits for the batch without end.

    Args:
        inner: ``worker_init_fn`` of the loader; None if it has none.
        worker: number of the worker.
    """
    end_with_parent()
    Queue._on_queue_feeder_error = staticmethod(_end_worker)
    if inner is not None:
        inner(worker)
