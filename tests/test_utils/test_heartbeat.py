"""A run of several processes ends when one of them is gone, and says which."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import tiny_run

from mmbsa.utils.heartbeat import VARIABLE, Heartbeat
from mmbsa.utils.launch import interface_to


def beat(rank: int, port: int, log: str, act: str, silence: str) -> None:
    """Be one of three processes; the last one acts."""
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 2)
    from datetime import timedelta

    import torch

    os.environ.update(RANK=str(rank), WORLD_SIZE='3', MASTER_ADDR='127.0.0.1')
    os.environ.update({'MASTER_PORT': str(port), VARIABLE: silence if rank == 0 else '50'})
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=60))
    heartbeat = Heartbeat().start()
    if rank == 2:  # the clock is the machine's
        Path(log).with_name('began').write_text(str(time.monotonic()))
    if rank == 2 and act == 'die':
        os._exit(0)
    if rank == 2 and act == 'stop':
        os.kill(os.getpid(), signal.SIGSTOP)
    if act == 'raise':
        if rank == 2:
            time.sleep(0.5)
            raise SystemExit(3)
        try:
            torch.distributed.barrier()
        except RuntimeError:
            raise SystemExit(heartbeat.loss()) from None
    time.sleep(60 if act in ('die', 'stop') else 1 + rank)
    assert heartbeat.loss(0) is None
    heartbeat.stop()


def three(folder, act: str, silence: str) -> tuple[list, list[str]]:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    logs = [str(folder / f'{rank}.log') for rank in range(3)]
    started = [tiny_run.start(beat, rank, port, logs[rank], act, silence) for rank in range(3)]
    codes = tiny_run.finish(*started[:2], seconds=120)
    started[2].kill()
    started[2].join()
    return [*codes, started[2].exitcode], [open(log).read() for log in logs]


@pytest.mark.parametrize('act, silence', [('die', '50'), ('stop', '3'), ('raise', '50')])
def test_the_lost_process_is_named_by_all_others(tmp_path, act, silence):
    codes, logs = three(tmp_path, act, silence)
    assert codes[:2] == [1, 1]
    assert time.monotonic() - float((tmp_path / 'began').read_text()) < 60
    reason = 'sent no message for 3 s' if act == 'stop' else 'ended before the run did'
    for rank in range(2):
        assert f'error: process 2 on {socket.gethostname()} (127.0.0.1) {reason}' in logs[rank]
        assert f'Process {rank} ends too.' in logs[rank]


@pytest.mark.parametrize('silence', ['2', '0'])
def test_a_goodbye_is_no_loss(tmp_path, silence):
    codes, logs = three(tmp_path, 'nothing', silence)
    assert codes[:2] == [0, 0] and not any('error' in log for log in logs)


def test_one_process_needs_no_word():
    heartbeat = Heartbeat().start()
    assert heartbeat.loss() is None and not heartbeat.peers
    heartbeat.stop()


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks Linux')
def test_interface_of_an_address():
    assert interface_to('127.0.0.1') == 'lo'
    assert interface_to('no such host') is None and interface_to('') in (None, 'lo')
