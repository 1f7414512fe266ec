"""Runs on several processes and machines with lost processes and connections.

    python tools/dev/campaign_nodes.py death=10 silence=2 link=2 nodes=1 resume=1

* ``death``: one of three processes is killed at a random time;
* ``silence``: one of three processes is stopped (SIGSTOP);
* ``link``: two machines (network namespaces, as root) lose their connection;
* ``nodes``: ``tools/dist_train.sh`` on two machines with separate folders must give the weights of
  one machine with the same number of processes;
* ``resume``: a run of two processes is resumed with one, and with three.

After a loss every process must end by itself within 60 s with an exit code other than 0, and print
which process is lost.
"""

import argparse
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from forked import fork, kill, wait  # noqa: E402
from kill_tasks import ITERS, ROOT, config, preload, weights  # noqa: E402

from mmbsa.utils.heartbeat import VARIABLE  # noqa: E402
from mmbsa.utils.launch import run  # noqa: E402

LIMIT = 60  # seconds from a loss to the end of all processes
SILENCE = 10
NETWORK = 0x40000000  # CLONE_NEWNET
ADDRESSES = ('10.77.0.1', '10.77.0.2')


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def train(work_dir: Path, rank: int, world: int, port: int, iters: int, options: dict) -> None:
    """Train as one process of a run, as torchrun would start it."""
    torch.set_num_threads(1)
    if 'namespace' in options:
        with open(options['namespace']) as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NETWORK):
                raise OSError(ctypes.get_errno(), 'setns')
    node = options.get('nodes', 1) > 1
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK='0' if node else str(rank),
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE='1' if node else str(world),
        MASTER_ADDR=options.get('address', '127.0.0.1'),
        MASTER_PORT=str(port),
    )
    os.environ[VARIABLE] = str(options.get('silence', SILENCE))
    cfg = config(work_dir, workers=0)
    cfg.merge_from_dict(
        {
            'launcher': 'pytorch',
            'train_cfg.max_iters': iters,
            'train_dataloader.batch_size': 1,
            'optim_wrapper.accumulative_counts': 1,
        }
    )
    run(cfg, 'train')


def start(
    folder: Path, world: int, iters: int = ITERS, each: list[dict] | None = None
) -> tuple[list[int], list[Path]]:
    """Start all processes of a run; return them and their logs."""
    port, options = free_port(), each or [{}] * world
    logs = [folder / f'{rank}.log' for rank in range(world)]
    processes = [
        fork(train, folder / 'run', rank, world, port, iters, options[rank], log=logs[rank])
        for rank in range(world)
    ]
    return processes, logs


def until_trains(folder: Path, seconds: float = 120) -> bool:
    """Wait for the first checkpoint."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (folder / 'run' / 'last_checkpoint').exists():
            return True
        time.sleep(0.02)
    return False


def ends(processes: dict[int, int], logs: list[Path], word: str) -> list[str]:
    """Return the faults in the ends of the processes of these ranks after a loss."""
    begin, faults, told = time.monotonic(), [], False
    for rank, process in processes.items():
        code = wait(process, max(begin + LIMIT - time.monotonic(), 0.1))
        if code is None:
            kill(process)
            faults.append(f'process {rank} does not end within {LIMIT} s')
        elif code == 0:
            faults.append(f'process {rank} ends as if nothing had happened')
        told = f'error: {word}' in logs[rank].read_text()
        if not told:
            faults.append(
                f'process {rank} does not say {word!r}:\n' + logs[rank].read_text()[-1500:]
            )
    return faults


def lose(folder: Path, draw: random.Random, number: int, by: int) -> list[str]:
    """Send a signal to one of three processes, and return the faults."""
    processes, logs = start(folder, 3, iters=10_000)
    victim, faults = number % 3, []
    if not until_trains(folder):
        faults.append('no training:\n' + logs[0].read_text()[-2000:])
    time.sleep(draw.uniform(0, 3))
    os.kill(processes[victim], by)
    if not faults:
        others = {rank: pid for rank, pid in enumerate(processes) if rank != victim}
        faults = ends(others, logs, f'process {victim} on ')
    for process in processes if faults else [processes[victim]]:
        try:
            kill(process)
        except (ProcessLookupError, ChildProcessError):
            pass
    return faults


def lose_a_process(folder: Path, draw: random.Random, number: int) -> list[str]:
    """Send SIGKILL to a process."""
    return lose(folder, draw, number, signal.SIGKILL)


def lose_word_of_a_process(folder: Path, draw: random.Random, number: int) -> list[str]:
    """Send SIGSTOP to a process: its connections remain, but it sends no messages."""
    return lose(folder, draw, number, signal.SIGSTOP)


def hold() -> None:
    """Stay in a separate network namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(NETWORK):
        raise OSError(ctypes.get_errno(), 'unshare')
    print('ready', flush=True)
    time.sleep(3600)


@contextmanager
def machines(folder: Path) -> Iterator[list[int]]:
    """Create two connected network namespaces; yield the processes that keep them."""
    for side in range(2):
        (folder / f'holder_{side}.log').touch()
    holders = [fork(hold, log=folder / f'holder_{side}.log') for side in range(2)]
    try:
        for side in range(2):
            while 'ready' not in (folder / f'holder_{side}.log').read_text():
                if wait(holders[side], 0.05) is not None:
                    raise OSError('there are no network namespaces here: needs root')
        a, b = map(str, holders)
        links = ['ip', 'link', 'add', 'm0', 'netns', a, 'type', 'veth', 'peer', 'm1', 'netns', b]
        subprocess.run(links, check=True)
        for side, holder in enumerate(map(str, holders)):
            enter = ['nsenter', '-t', holder, '-n', 'ip']
            subprocess.run([*enter, 'addr', 'add', f'{ADDRESSES[side]}/24', 'dev', f'm{side}'])
            for name in ('lo', f'm{side}'):
                subprocess.run([*enter, 'link', 'set', name, 'up'], check=True)
        yield holders
    finally:
        for holder in holders:
            try:
                kill(holder)
            except (ProcessLookupError, ChildProcessError):
                pass


def lose_the_link(folder: Path, draw: random.Random, number: int) -> list[str]:
    """Disconnect two machines."""
    with machines(folder) as holders:
        each = [
            dict(namespace=f'/proc/{holder}/ns/net', address=ADDRESSES[0], nodes=2)
            for holder in holders
        ]
        processes, logs = start(folder, 2, iters=10_000, each=each)
        if not until_trains(folder):
            for process in processes:
                kill(process)
            return ['no training:\n' + ''.join(log.read_text()[-1500:] for log in logs)]
        time.sleep(draw.uniform(0, 3))
        down = ['nsenter', '-t', str(holders[0]), '-n', 'ip', 'link', 'set', 'm0', 'down']
        subprocess.run(down, check=True)
        faults = ends({0: processes[0]}, logs, 'process 1 on ')
        return faults + ends({1: processes[1]}, logs, 'process 0 on ')


def two_nodes(folder: Path, draw: random.Random, number: int) -> list[str]:
    """Run dist_train.sh on two machines with one process each, and on one machine with two."""
    path = folder / 'config.py'
    cfg = config(folder / 'unused', workers=0)
    cfg.merge_from_dict({'train_dataloader.batch_size': 1, 'resume': False})
    cfg.pop('work_dir')
    path.write_text(cfg.pretty_text)
    script, results = ROOT / 'tools' / 'dist_train.sh', {}

    def launch(name: str, processes: int, holder: int | None = None, **env: str):
        (here := folder / name).mkdir()
        enter = [] if holder is None else ['nsenter', '-t', str(holder), '-n']
        return subprocess.Popen(
            [*enter, 'bash', str(script), str(path), str(processes), '--work-dir', 'run'],
            cwd=here,
            env={**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **env},
            stdout=open(here / 'log', 'wb'),
            stderr=subprocess.STDOUT,
        )

    with machines(folder) as holders:
        pair = [
            launch(
                f'node_{rank}',
                1,
                holders[rank],
                NNODES='2',
                NODE_RANK=str(rank),
                MASTER_ADDR=ADDRESSES[0],
                PORT='29511',
            )
            for rank in range(2)
        ]
        codes = [process.wait(900) for process in pair]
    codes.append(launch('one', 2).wait(900))
    if any(codes):
        logs = ''.join(
            (folder / n / 'log').read_text()[-3000:] for n in ('node_0', 'node_1', 'one')
        )
        return [f'exit codes {codes}:\n{logs}']
    results = [weights(folder / name / 'run') for name in ('node_0', 'one')]
    wrong = [key for key in results[0] if not torch.equal(results[0][key], results[1][key])]
    left = [str(path) for path in (folder / 'node_1').rglob('*.pth')]
    return [f'{len(wrong)} of {len(results[0])} tensors differ'] * bool(wrong) + left


def other_number(folder: Path, draw: random.Random, number: int) -> list[str]:
    """Resume with one process, and with three."""
    faults = []
    for world, iters in ((2, 4), (1, 6), (3, ITERS)):
        processes, logs = start(folder, world, iters)
        codes = [wait(process, 300) for process in processes]
        text = logs[0].read_text()
        if any(code != 0 for code in codes):
            faults.append(f'{world} processes end with {codes}:\n{text[-2000:]}')
        if iters > 4 and 'they are not restored' not in text:
            faults.append(f'{world} processes do not say what is not restored')
        for process, code in zip(processes, codes):
            if code is None:
                kill(process)
        for log in logs:
            log.unlink()
    if not (folder / 'run' / f'iter_{ITERS}.pth').is_file():
        faults.append('the run is not through')
    return faults


CASES = dict(
    death=lose_a_process,
    silence=lose_word_of_a_process,
    link=lose_the_link,
    nodes=two_nodes,
    resume=other_number,
)


def campaign(name: str, number: int, folder: Path, seed: int = 0) -> list[str]:
    """Run a case ``number`` times; return the faults."""
    draw, faults = random.Random(seed), []
    for index in range(number):
        (here := folder / f'{name}_{index}').mkdir()
        faults += [f'{name} {index}: {fault}' for fault in CASES[name](here, draw, index)]
        shutil.rmtree(here, ignore_errors=True)
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('cases', nargs='+', metavar='CASE=COUNT')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    preload()
    failed = False
    for name, number in (case.split('=') for case in args.cases):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            faults = campaign(name, int(number), Path(folder), args.seed)
            took = time.monotonic() - begin
        print(f'{name}: {number} tried, {len(faults)} faults, {took:.0f} s', flush=True)
        print('\n'.join(faults))
        failed |= bool(faults)
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
