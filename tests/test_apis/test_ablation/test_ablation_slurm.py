"""Slurm lines: what they ask for, and what a stand-in of slurm's commands does with them."""

import shlex
from pathlib import Path

import pytest
import tiny_cell
import yaml

from mmbsa.apis.ablation import CellFolder, GridError, expand, read_grid
from mmbsa.apis.ablation.slurm import is_queued, sbatch_command, submit

TOOLS = Path(__file__).resolve().parents[3] / 'tools'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'tiny.py').write_text(tiny_cell.CONFIG)
    (tmp_path / 'grid.yaml').write_text(
        yaml.safe_dump(dict(base='tiny.py', metric='score', axes=dict(width={'4': {}})))
    )
    return CellFolder(tmp_path / 'my work', expand(read_grid(tmp_path / 'grid.yaml'))[0], 'score')


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Put stand-ins of sbatch, srun and squeue into the path."""

    def put(name: str, script: str):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('#!/bin/sh\n' + script)
        path.chmod(0o755)

    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:/usr/bin:/bin')
    return put


def test_slurm_line_trains_the_cell(folder):
    line = sbatch_command(folder, TOOLS, 'gpu', gpus=16, extra='--time=1:00 --account="my team"')
    assert line[0] == 'sbatch' and line[-2] == '--wrap'
    assert {
        '--partition=gpu',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--requeue',
        '--time=1:00',
        '--account=my team',
    } <= set(line)
    inner = shlex.split(line[-1])
    assert (
        inner[:4] == ['env', 'GPUS=16', 'GPUS_PER_NODE=8', 'CPUS_PER_TASK=5']
        and inner[-1] == '--resume'
    )
    assert (
        inner[inner.index('--work-dir') + 1] == str(folder.path.resolve())
        and Path(inner[8]).is_file()
    )
    with pytest.raises(GridError, match='12 GPUs'):
        sbatch_command(folder, TOOLS, 'gpu', gpus=12)


def test_the_job_starts_our_training(folder, commands, tmp_path):
    """sbatch runs what it wraps, srun writes down what it was asked for."""
    commands('srun', f'for word in "$@"; do echo "$word"; done > "{tmp_path}/asked"\n')
    commands(
        'sbatch', 'for last in "$@"; do :; done; sh -c "$last" && echo "Submitted batch job 77"\n'
    )
    assert submit(folder, sbatch_command(folder, TOOLS, 'gpu', gpus=2)) == '77'
    asked = (tmp_path / 'asked').read_text().splitlines()
    assert '--partition=gpu' in asked and '--ntasks=2' in asked and '--gres=gpu:2' in asked
    script = next(i for i, word in enumerate(asked) if word.endswith('train.py'))
    assert asked[script + 1 :] == [
        str(folder.path / 'config.py'),
        '--work-dir',
        str(folder.path),
        '--resume',
        '--launcher',
        'slurm',
    ]
    assert folder.status() == 'submitted' and folder.read()['job'] == '77'
    commands('squeue', 'echo "77 gpu R"\n')
    assert is_queued(folder)
    commands('squeue', 'exit 1\n')
    assert not is_queued(folder), 'slurm has forgotten the job'


def test_slurm_refuses_bad_arguments(folder, commands):
    with pytest.raises(GridError, match='sbatch is not installed'):
        submit(folder, ['/nonexistent/sbatch'])
    commands('sbatch', 'echo "invalid partition" >&2; exit 1\n')
    with pytest.raises(GridError, match='invalid partition'):
        submit(folder, sbatch_command(folder, TOOLS, 'none'))
