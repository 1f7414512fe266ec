"""Support for several machines without a common file system: files and results over the network."""

import os
import os.path as osp
import zlib
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmbsa.registry import HOOKS
from mmbsa.utils.files import atomic_open

CHUNK = 64 << 20


def is_first_of_node() -> bool:
    """Return whether this is the first process of its machine."""
    return os.environ.get('LOCAL_RANK', '0') == '0'


def fingerprint(path: str | None) -> tuple[int, int] | None:
    """Return size and checksum of a file, or None if it does not exist."""
    if path is None or not osp.isfile(path):
        return None
    crc = 0
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return osp.getsize(path), crc


def share_file(path: str, folder: str) -> str:
    """Make a file of the first process readable in every process.

    Machines that have the same file at the same path use it. The others receive it over the
    network, into ``<folder>/received``.

    Args:
        path: the file, in the first process.
        folder: a folder of this machine.

    Returns:
        The path of the file for this process; ``path`` itself if the first process has no such
        file.
    """
    if get_world_size() == 1:
        return path
    here = fingerprint(path)
    there = [here]
    broadcast_object_list(there)
    lacking = there[0] is not None and here != there[0]
    if not any(all_gather_object(lacking)):
        return path
    target = osp.join(folder, 'received', osp.basename(path))
    print_log(f'{path} is not on every machine: the first process sends it', 'current')
    writes = lacking and is_first_of_node()
    with (
        atomic_open(target) if writes else nullcontext() as out,
        open(path, 'rb') if is_main_process() else nullcontext() as source,
    ):
        for begin in range(0, there[0][0], CHUNK):
            size = min(CHUNK, there[0][0] - begin)
            data = bytearray(source.read(size) if is_main_process() else size)
            chunk = torch.frombuffer(data, dtype=torch.uint8)
            broadcast(chunk)
            if writes:
                out.write(chunk.cpu().numpy().tobytes())
    barrier()
    return target if lacking else path


@HOOKS.register_module()
class GatherResultsHook(Hook):
    """Collect the results of metrics through the process group.

    mmengine's metrics exchange results by files in the working directory, which several machines
    may not share.
    """

    priority = 'VERY_HIGH'

    def before_val_epoch(self, runner: Runner) -> None:
        """Set the metrics of a validation."""
        gather_through_group(runner.val_loop.evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Set the metrics of a test."""
        gather_through_group(runner.test_loop.evaluator)


def gather_through_group(evaluator: Any) -> None:
    """Switch every metric of an evaluator, and nested metrics, from files to the process group."""
    inner = getattr(evaluator, 'metrics', None) or getattr(evaluator, '_metrics', None) or ()
    for metric in inner.values() if isinstance(inner, dict) else inner:
        for one in metric if isinstance(metric, list | tuple) else [metric]:
            if hasattr(one, 'collect_device'):
                one.collect_device, one.collect_dir = (
                    'gpu',
                    None,
                )  # mmengine's name for the device of the group
            gather_through_group(one)
