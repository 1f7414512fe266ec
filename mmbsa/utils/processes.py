"""Processes that end with the one that started them."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait

from torch.utils.data import DataLoader


def end_with_parent() -> None:
    """Let this worker process end when its parent ends, also by a SIGKILL.

    Workers of a process pool wait for work for ever otherwise: each of them holds both ends of the
    pipe from which the work comes. For the ``initializer`` of a pool.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def watch_parent(loader: DataLoader) -> None:
    """Let the workers of a data loader end with the process that uses it."""
    init = loader.worker_init_fn
    if not (isinstance(init, partial) and init.func is init_worker):
        loader.worker_init_fn = partial(init_worker, init)


def init_worker(inner: Callable[[int], None] | None, worker: int) -> None:
    """Initialise a data worker as ``inner`` does, and let it end with its parent.

    torch's own workers look for their parent, but hang at their end where what they loaded last
    fills a pipe that nobody reads.

    Args:
        inner: The loader's own ``worker_init_fn``.
        worker: Its number.
    """
    end_with_parent()
    if inner is not None:
        inner(worker)
