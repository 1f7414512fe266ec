"""What several machines without a common file system need: files of the first process, and results
over the network."""

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
    """Return size and checksum of a file, or None where there is none."""
    if path is None or not osp.isfile(path):
        return None
    crc = 0
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return osp.getsize(path), crc


def share_file(path: str, folder: str) -> str:
    """Make a file of the first process readable in every process.

    Machines that have the same file at the same path use theirs. The others receive it over the
    network, into ``<folder>/received``.

    Args:
        path: The file, in the first process.
        folder: A folder of this machine.

    Returns:
        Where this process reads it; ``path`` itself if the first process has no such file.
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
    """Let metrics collect their results through the process group.

    mmengine's metrics pass results through files in the working directory, which several machines
    need not share.
    """

    priority = 'VERY_HIGH'

    def before_val_epoch(self, runner: Runner) -> None:
        """Tell the metrics of a validation."""
        gather_through_group(runner.val_loop.evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Tell the metrics of a test."""
        gather_through_group(runner.test_loop.evaluator)


def gather_through_group(evaluator: Any) -> None:
    """Switch every metric of an evaluator, and the metrics inside of metrics, from files to the
    process group."""
    inner = getattr(evaluator, 'metrics', None) or getattr(evaluator, '_metrics', None) or ()
    for metric in inner.values() if isinstance(inner, dict) else inner:
        for one in metric if isinstance(metric, list | tuple) else [metric]:
            if hasattr(one, 'collect_device'):
                one.collect_device, one.collect_dir = (
                    'gpu',
                    None,
                )  # mmengine's name for whatever the group runs on
            gather_through_group(one)
