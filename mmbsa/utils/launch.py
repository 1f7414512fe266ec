"""Common parts of ``tools/train.py`` and ``tools/test.py``: arguments and runner.

mmengine starts process groups for GPUs only. Without a GPU the group is started here (gloo), and
config entries that need a GPU (SyncBN, mixed precision, device ids) are replaced by CPU versions
with a warning. On CPUs, freed memory is kept from step to step, see
:func:`mmbsa.utils.memory.keep_freed_memory`.
"""

import argparse
import gc
import logging
import os
import os.path as osp
import pickle
import socket
import struct
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmbsa.utils.errors import DataError, MissingCheckpointError, MissingDataError, message
from mmbsa.utils.heartbeat import Heartbeat
from mmbsa.utils.memory import give_back_freed_memory, keep_freed_memory
from mmbsa.utils.processes import lost_worker
from mmbsa.utils.types import type_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the common arguments of training and testing (with the names and meanings of mmseg)."""
    parser.add_argument(
        '--work-dir',
        help='folder of logs, checkpoints and results; default work_dirs/<config name>',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override config entries, e.g. train_dataloader.batch_size=4 '
        'model.decode_head.channels=64 '
        'or a list: key="[a,b]" (quoted, without spaces)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes one spelling or the other, depending on its version
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def read_config(path: str | os.PathLike) -> Config:
    """Read a config file for a command-line tool.

    Args:
        path: the config file.

    Raises:
        SystemExit: the file cannot be read; the message is one line with the file and the reason.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is Python code, and may raise any error
        reason = ' '.join(str(error).split())
        raise SystemExit(
            f'error: config {path} cannot be read: {type(error).__name__}: {reason}'
        ) from None


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the common arguments."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    fill_in(cfg)
    draw_frames(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def fill_in(cfg: Config) -> None:
    """Move a top-level ``data_preprocessor`` into the model config, as mmpretrain's tools do."""
    if cfg.get('data_preprocessor') and isinstance(cfg.get('model'), dict):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)


def draw_frames(cfg: Config) -> None:
    """Replace mmpretrain's ``VisualizationHook``, which cannot draw event frames."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    model = cfg.get('model')
    frames = type_name((model or {}).get('data_preprocessor')) == 'EventDataPreprocessor'
    if frames and isinstance(hook, dict) and type_name(hook) == 'VisualizationHook':
        kept = {
            key: hook[key]
            for key in ('enable', 'interval', 'show', 'out_dir', 'wait_time')
            if key in hook
        }
        cfg.default_hooks.visualization = dict(type='mmbsa.ClsPictureHook', **kept)


def run(cfg: Config, verb: str) -> Any:
    """Build the runner of a config for the devices of this machine, and run it.

    Args:
        cfg: the config.
        verb: ``'train'`` or ``'test'``.

    Returns:
        The result of ``test``; None for ``train``.

    Raises:
        SystemExit: a data file or checkpoint does not exist or cannot be used; the message is one
            line that names it.
    """
    fit_devices(cfg)
    gather_results(cfg)
    import_yapf()
    heartbeat = Heartbeat()
    try:
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        heartbeat.start()
        result = getattr(runner, verb)()
    except (
        MissingDataError,
        MissingCheckpointError,
    ) as error:  # the same in every process of a machine
        _refuse(str(error))
    except DataError as error:
        raise SystemExit(f'error: {message(error)}') from None
    except Exception as error:
        # a lost process is the reason, and not the error of the collective call
        loss, worker = heartbeat.loss(), lost_worker(error)
        if loss is None and worker is not None:
            raise RuntimeError(worker) from error
        if loss is None:
            raise
        raise SystemExit(loss) from None
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        heartbeat.stop()
        torch.distributed.destroy_process_group()
        # The model also holds the group, whose threads end with it. A process that ends before
        # them may abort when a thread frees a tensor that Python refers to, and torchrun then
        # reports a failed run.
        del runner
        gc.collect()
    return result if verb == 'test' else None  # a trained model would keep the group alive


def import_yapf(attempts: int = 50) -> None:
    """Import yapf, which mmengine uses to print configs.

    The first import in a new environment writes a cache file, not atomically. Another process of
    the run may read a partial file; the import is then repeated.

    Args:
        attempts: largest number of attempts, 50 by default.
    """
    for attempt in range(attempts):
        try:
            import yapf  # noqa: F401

            return
        except (EOFError, ValueError, pickle.UnpicklingError):
            if attempt == attempts - 1:
                raise
            for name in [name for name in sys.modules if name.startswith('yapf')]:
                del sys.modules[name]
            time.sleep(0.1)


def gather_results(cfg: Config) -> None:
    """Make the metrics of a distributed run collect results without a common file system."""
    if cfg.launcher == 'none':
        return
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = {}
    if all(type_name(hook) != 'GatherResultsHook' for hook in cfg.default_hooks.values()):
        cfg.default_hooks.gather_results = dict(type='mmbsa.GatherResultsHook')


def fit_devices(cfg: Config) -> None:
    """Check the launch against the GPUs of this machine; without GPUs, use the CPU with gloo.

    The config is changed in place.

    Raises:
        SystemExit: there are fewer GPUs than processes on this machine, or a launcher needs GPUs
            and there are none.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
        if cfg.launcher == 'pytorch' and processes > gpus:
            _refuse(
                f'{processes} processes were requested, but this node has {gpus} GPU(s). Start at '
                f'most {gpus}, or set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU.'
            )
        return
    (give_back_freed_memory if cfg.pop('low_memory', False) else keep_freed_memory)()
    _fit_amp(cfg)
    if cfg.launcher == 'none':
        return
    if cfg.launcher != 'pytorch':
        _refuse(
            f'--launcher {cfg.launcher} needs GPUs; without any, use tools/dist_train.sh or '
            '--launcher pytorch.'
        )
    if _without_sync_bn(cfg.model):
        print_log('there is no GPU: SyncBN is replaced by BN', 'current', logging.WARNING)
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
    )
    cfg.model_wrapper_cfg.device_ids = None  # otherwise mmengine sets a GPU
    if os.environ.get('WORLD_SIZE') != os.environ.get('LOCAL_WORLD_SIZE'):  # several machines
        interface = interface_to(os.environ.get('MASTER_ADDR', ''))
        if interface is not None:
            os.environ.setdefault('GLOO_SOCKET_IFNAME', interface)
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    torch.distributed.init_process_group(
        'gloo', **(dict(timeout=timedelta(seconds=seconds)) if seconds else {})
    )


def interface_to(address: str) -> str | None:
    """Return the name of the network interface for an address, None if it is unknown.

    gloo uses the interface of the host name, which often is the loopback.
    """
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with suppress(OSError):  # an interface without an address
                    asked = struct.pack('256s', name.encode()[:15])
                    answer = fcntl.ioctl(probe, 0x8915, asked)  # SIOCGIFADDR
                    if socket.inet_ntoa(answer[20:24]) == own:
                        return name
    except (ImportError, OSError):  # not Linux, or no such address
        pass
    return None


#: end of a message for CPUs where mixed precision has no use.
WITHOUT_BFLOAT16 = (
    "the processor has no bfloat16 instructions (AVX512-BF16, AMX or Arm's): mixed precision is "
    'off, and the run computes in float32'
)


def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 product instructions (AVX512-BF16, AMX, or Arm's).

    Without them, 16 bits are emulated and slower than 32 bits.
    """
    found = torch.cpu.get_capabilities()
    return any(value is True for name, value in found.items() if 'bf16' in name)


def _fit_amp(cfg: Config) -> None:
    """Set mixed precision to bfloat16 on a CPU with such instructions, and off on other CPUs.

    The config is changed in place: ``optim_wrapper`` of type ``AmpOptimWrapper``, and ``fp16`` of
    ``val_cfg`` and ``test_cfg``, for which mmengine uses bfloat16 on CPUs.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    loops = [loop for name in ('val_cfg', 'test_cfg') if (loop := cfg.get(name) or {}).get('fp16')]
    training = type_name(wrapper) == 'AmpOptimWrapper'
    if not training and not loops:
        return
    exists = has_bfloat16()
    if training:
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
        wrapper.type = 'mmbsa.CPUAmpOptimWrapper' if exists else 'OptimWrapper'
    for loop in loops:
        loop.fp16 = exists
    if exists:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='mmbsa.Float32HeadsHook')]
        print_log('there is no GPU: mixed precision is bfloat16 on the CPU', 'current')
    else:
        print_log(f'there is no GPU, and {WITHOUT_BFLOAT16}', 'current', logging.WARNING)


def _without_sync_bn(cfg) -> bool:
    """Replace ``type='SyncBN'`` (or its class) by ``'BN'`` anywhere in a model config.

    Returns:
        Whether there was one.
    """
    found = False
    if isinstance(cfg, dict):
        if type_name(cfg) in ('SyncBN', 'SyncBatchNorm'):
            cfg['type'], found = 'BN', True
        cfg = list(cfg.values())
    if isinstance(cfg, list | tuple):
        found |= any([_without_sync_bn(entry) for entry in cfg])
    return found


def _refuse(reason: str) -> None:
    """End every process of a launch; one of them prints the reason."""
    raise SystemExit(f'error: {reason}' if os.environ.get('LOCAL_RANK', '0') == '0' else 2)
