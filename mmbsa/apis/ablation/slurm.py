"""A grid on a Slurm cluster: one sbatch command per cell for ``tools/slurm_train.sh``."""

import re
import shlex
import subprocess
from pathlib import Path

from mmbsa.apis.ablation.grid import GridError
from mmbsa.apis.ablation.state import CellFolder


def sbatch_command(
    folder: CellFolder,
    tools: Path,
    partition: str,
    gpus: int = 1,
    gpus_per_node: int = 8,
    cpus_per_task: int = 5,
    extra: str = '',
) -> list[str]:
    """Write the config of a cell to its folder, and return the command that submits its training.

    The job requests the resources that its ``srun`` uses. It may return to the queue at any time
    (``--requeue``); the training then continues from its last checkpoint.

    Args:
        folder: folder of the cell.
        tools: folder of ``slurm_train.sh``.
        partition: partition of the cluster.
        gpus: number of GPUs per training, with one process each; 1 by default.
        gpus_per_node: largest number of GPUs per node, 8 by default.
        cpus_per_task: number of CPUs per process, 5 by default.
        extra: further arguments of sbatch, as one text; empty by default.

    Raises:
        GridError: the GPUs cannot be divided evenly over the nodes.
    """
    per_node = min(gpus, gpus_per_node)
    if gpus % per_node:
        raise GridError(f'{gpus} GPUs cannot be spread evenly over nodes with {gpus_per_node}')
    config, name = folder.write_config(), f'{folder.path.parent.name}/{folder.cell.name}'
    inner = [
        'env',
        f'GPUS={gpus}',
        f'GPUS_PER_NODE={per_node}',
        f'CPUS_PER_TASK={cpus_per_task}',
        'bash',
        str(tools / 'slurm_train.sh'),
        partition,
        name,
        str(config.resolve()),
        '--work-dir',
        str(folder.path.resolve()),
        '--resume',
    ]
    return [
        'sbatch',
        f'--job-name={name}',
        f'--partition={partition}',
        f'--gres=gpu:{per_node}',
        f'--ntasks={gpus}',
        f'--ntasks-per-node={per_node}',
        f'--cpus-per-task={cpus_per_task}',
        '--requeue',
        '--open-mode=append',
        f'--output={folder.path.resolve() / "train.log"}',
        *shlex.split(extra),
        '--wrap',
        shlex.join(inner),
    ]


def submit(folder: CellFolder, command: list[str]) -> str:
    """Submit one cell of the grid with ``sbatch`` and return the number of the Slurm job.

    The state file of the cell then holds the job number and the status ``'submitted'``.

    Args:
        folder: folder of the cell.
        command: arguments of :func:`sbatch_command`, beginning with ``sbatch``.

    Raises:
        GridError: ``sbatch`` is not installed, or it did not accept the job.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise GridError(
            'sbatch is not installed on this machine; without --submit the commands are printed'
        ) from error
    job = re.search(r'job (\d+)', done.stdout)
    if done.returncode or job is None:
        raise GridError(
            f'sbatch rejected {folder.cell.name}: {(done.stderr or done.stdout).strip()}'
        )
    folder.note(
        status='submitted',
        job=job[1],
        key=folder.cell.key,
        values=folder.cell.values,
        seed=folder.cell.seed,
    )
    return job[1]


def is_queued(folder: CellFolder) -> bool:
    """Return whether the recorded job of a cell waits or runs."""
    job = folder.read().get('job')
    if job is None:
        return False
    try:
        done = subprocess.run(
            ['squeue', '--noheader', '--jobs', job], capture_output=True, text=True
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0 and bool(
        done.stdout.strip()
    )  # squeue fails for jobs that it no longer stores
