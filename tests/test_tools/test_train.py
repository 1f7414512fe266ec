"""Our launch scripts and mmseg's own, run as a user would run them, on processes of a machine
without a GPU."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest
import tiny_run
import torch
from mmengine.config import Config

from mmbsa.utils import launch
from mmbsa.utils.checkpoint import load_checkpoint_file

pytestmark = pytest.mark.seg
TOOLS = tiny_run.ROOT / 'tools'
MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return tiny_run.write_config(tmp_path_factory.mktemp('tiny'))


def shell(script: str, *args, expect: int | None = 0, **env) -> str:
    """Run one of our shell scripts, without GPUs; return its output."""
    env = {
        **os.environ,
        'PYTHON': sys.executable,
        'PYTHONPATH': str(TOOLS.parent / 'tests'),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        **env,
    }
    done = subprocess.run(
        ['bash', str(TOOLS / script), *map(str, args)],
        env=env,
        text=True,
        timeout=1200,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if expect is not None:
        assert done.returncode == expect, done.stdout[-4000:]
    return done.stdout


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def python(script: Path, folder: Path, *args, processes: int = 1, expect: int = 0) -> str:
    """Run a Python tool in one process, or in several with the environment torchrun gives; return
    all output."""
    port, started = free_port(), []
    for rank in range(processes):
        env = dict(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
            LOCAL_WORLD_SIZE=str(processes),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port,
            CUDA_VISIBLE_DEVICES='',
        )
        launcher = ['--launcher', 'pytorch'] if processes > 1 else []
        started.append(
            tiny_run.start(
                tiny_run.run_script,
                str(script),
                str(folder / f'output_{rank}.txt'),
                *map(str, args),
                *launcher,
                **env,
            )
        )
    codes = tiny_run.finish(*started)
    output = '\n'.join((folder / f'output_{rank}.txt').read_text() for rank in range(processes))
    assert codes == [expect] * processes, output[-6000:]
    return output


def metric(output: str, phase: str) -> str:
    """Return the scores of the last validation or test in an output."""
    return re.findall(rf'Iter\({phase}\).*?(aAcc.*?mAcc: [\d.]+)', output)[-1]


# without norms and dropout that see one process only, two processes are one with twice the batch
EXACT = [
    'model.backbone.norm_cfg.type=GN',
    'model.backbone.norm_cfg.num_groups=1',
    'model.decode_head.norm_cfg.type=GN',
    'model.decode_head.norm_cfg.num_groups=1',
    'model.decode_head.dropout_ratio=0',
    'model.auxiliary_head.dropout_ratio=0',
    'model.auxiliary_head.norm_cfg.type=GN',
    'model.auxiliary_head.norm_cfg.num_groups=1',
    'optim_wrapper.optimizer.type=SGD',
    'train_cfg.max_iters=4',
]


def test_two_processes_are_one_with_twice_the_batch(config, tmp_path):
    output = shell(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'two', '--cfg-options', *EXACT
    )
    python(
        TOOLS / 'train.py',
        tmp_path,
        config,
        '--work-dir',
        tmp_path / 'one',
        '--cfg-options',
        *EXACT,
        'train_dataloader.batch_size=4',
    )
    two, one = tiny_run.read_diary(tmp_path / 'two'), tiny_run.read_diary(tmp_path / 'one')
    assert sorted(two) == [0, 1] and sorted(one) == [0]
    for first, second, both in zip(two[0], two[1], one[0]):
        assert both['files'] == [
            name for pair in zip(first['files'], second['files']) for name in pair
        ]
        assert both['pixels'] == first['pixels'] + second['pixels']
    weights = [
        load_checkpoint_file(tmp_path / name / 'iter_4.pth')['state_dict']
        for name in ('two', 'one')
    ]
    for key, value in weights[0].items():
        torch.testing.assert_close(
            value, weights[1][key], rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f'{key}: {m}'
        )
    assert metric(output, 'val') == metric((tmp_path / 'output_0.txt').read_text(), 'val')


def test_resume_test_and_stop_of_two_processes(config, tmp_path):
    """One long story, because starting processes takes most of the time."""
    work_dir = tmp_path / 'run'
    train = (TOOLS / 'train.py', tmp_path, config, '--amp', '--work-dir', work_dir)
    cut = python(
        *train,
        '--cfg-options',
        'train_cfg.max_iters=6',
        'train_cfg.val_interval=6',
        processes=2,
    )
    assert 'mixed precision is bfloat16 on the CPU' in cut or 'mixed precision is off' in cut
    assert 'there is no GPU: SyncBN is replaced by BN' in cut
    first = tiny_run.read_diary(work_dir)
    assert len(first) == 2 and all(len(lines) == 6 for lines in first.values())

    trained = python(*train, '--resume', '--cfg-options', 'train_cfg.max_iters=8', processes=2)
    for rank, lines in tiny_run.read_diary(work_dir).items():
        assert [line['iter'] for line in lines] == list(range(1, 9)) and lines[:6] == first[rank]
    whole = python(
        TOOLS / 'train.py',
        tmp_path,
        config,
        '--amp',
        '--work-dir',
        tmp_path / 'whole',
        processes=2,
    )
    assert tiny_run.read_diary(work_dir) == tiny_run.read_diary(tmp_path / 'whole')
    assert metric(trained, 'val') == metric(whole, 'val')
    # BN statistics are averaged over the processes, so that one process repeats the validation of
    # two
    tested = python(
        TOOLS / 'test.py',
        tmp_path,
        config,
        work_dir / 'iter_8.pth',
        '--work-dir',
        tmp_path / 'test',
    )
    assert metric(tested, 'test') == metric(trained, 'val')

    # a NaN in one process ends both, at once
    stopped = python(
        *train,
        '--resume',
        str(work_dir / 'iter_8.pth'),
        '--cfg-options',
        'train_cfg.max_iters=16',
        'model.decode_head.loss_decode.type=NaNLoss',
        processes=2,
        expect=1,
    )
    assert stopped.count('FloatingPointError: the loss is not finite at iteration 9') == 2
    assert stopped.count(f'last good checkpoint: {work_dir}/iter_8.pth') == 2
    assert 'process 1: ' in stopped and 'process 0: ' not in stopped
    assert all(len(lines) == 8 for lines in tiny_run.read_diary(work_dir).values())


def test_test_writes_maps_and_pictures_with_augmentation(config, tmp_path):
    tiny_run.finish(
        tiny_run.start(tiny_run.train, config, tmp_path / 'run', train_cfg__max_iters=2)
    )
    python(
        TOOLS / 'test.py',
        tmp_path,
        config,
        tmp_path / 'run/iter_2.pth',
        '--work-dir',
        tmp_path / 'test',
        '--tta',
        '--out',
        tmp_path / 'maps',
        '--show-dir',
        tmp_path / 'pictures',
    )
    assert sorted(path.name for path in (tmp_path / 'maps').iterdir()) == [
        '00.png',
        '01.png',
        '02.png',
    ]
    assert (
        len([*(tmp_path / 'pictures').rglob('*.jpg'), *(tmp_path / 'pictures').rglob('*.png')]) == 3
    )


def test_mmsegs_own_tools_run_our_configs_and_checkpoints(config, tmp_path):
    work_dir = tmp_path / 'run'
    options = [
        '--cfg-options',
        'train_cfg.max_iters=6',
        'train_cfg.val_interval=6',
        'default_hooks.checkpoint.interval=4',
    ]
    python(MMSEG_TOOLS / 'train.py', tmp_path, config, '--work-dir', work_dir, *options)
    assert 'resume_state' in load_checkpoint_file(work_dir / 'iter_6.pth')
    (work_dir / 'iter_6.pth').write_bytes(b'cut off')
    trained = python(
        MMSEG_TOOLS / 'train.py', tmp_path, config, '--work-dir', work_dir, '--resume', *options
    )
    assert 'iter_6.pth is truncated or damaged and is skipped' in trained
    lines = tiny_run.read_diary(work_dir)[0]
    assert [line['iter'] for line in lines] == [1, 2, 3, 4, 5, 6, 5, 6] and lines[4:6] == lines[6:]
    tested = python(
        MMSEG_TOOLS / 'test.py',
        tmp_path,
        config,
        work_dir / 'iter_6.pth',
        '--work-dir',
        tmp_path / 'test',
    )
    assert metric(tested, 'test') == metric(trained, 'val')


def test_mmsegs_own_tools_run_the_quickstart(tmp_path):
    config, work_dir = tiny_run.ROOT / 'configs' / 'bsa_quickstart.py', tmp_path / 'run'
    options = [
        '--cfg-options',
        'train_dataloader.batch_size=2',
        'val_dataloader.dataset.length=4',
        'test_dataloader.dataset.length=4',
        'test_dataloader.dataset.split=val',
    ]
    options += [
        f'{phase}_dataloader.{key}'
        for phase in ('train', 'val', 'test')
        for key in ('num_workers=0', 'persistent_workers=False')
    ]
    trained = python(
        MMSEG_TOOLS / 'train.py',
        tmp_path,
        config,
        '--work-dir',
        work_dir,
        *options,
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
    )
    tested = python(
        MMSEG_TOOLS / 'test.py',
        tmp_path,
        config,
        work_dir / 'iter_2.pth',
        '--work-dir',
        tmp_path / 'test',
        *options,
    )
    assert metric(tested, 'test') == metric(trained, 'val')


def fitted(monkeypatch, gpus: int, launcher: str, processes: int = 1, **entries) -> Config:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
    cfg = Config(dict(launcher=launcher, model={}, **entries))
    launch.fit_devices(cfg)
    return cfg


def test_launches_that_cannot_work_say_so(monkeypatch):
    with pytest.raises(SystemExit, match='8 processes were requested, but this node has 2 GPU'):
        fitted(monkeypatch, 2, 'pytorch', 8)
    with pytest.raises(SystemExit, match='--launcher slurm needs GPUs'):
        fitted(monkeypatch, 0, 'slurm')
    fitted(monkeypatch, 8, 'pytorch', 8)  # the group is left to mmengine (nccl)
    assert 'positive integer' in shell('dist_train.sh', 'a.py', 'two', expect=2)
    assert 'usage' in shell('dist_test.sh', 'a.py', 2, expect=2)
    assert 'usage' in shell('slurm_train.sh', 'a.py', expect=2)


@pytest.mark.parametrize('bf16', [True, False])
def test_mixed_precision_without_a_gpu_needs_a_processor_with_bfloat16(monkeypatch, bf16):
    amp = dict(
        type='AmpOptimWrapper',
        loss_scale='dynamic',
        dtype='float16',
        optimizer=dict(type='SGD', lr=1),
    )
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx2=True, amx_bf16=bf16))
    cfg = fitted(monkeypatch, 0, 'none', optim_wrapper=amp)
    found = 'mmbsa.CPUAmpOptimWrapper' if bf16 else 'OptimWrapper'
    assert cfg.optim_wrapper == dict(type=found, optimizer=dict(type='SGD', lr=1))
    assert fitted(monkeypatch, 1, 'none', optim_wrapper=amp).optim_wrapper == amp


@pytest.mark.skipif(not launch.has_bfloat16(), reason='the processor has no bfloat16 instructions')
def test_a_run_with_amp_computes_in_bfloat16_on_the_cpu(config, tmp_path):
    first = {}
    for name in ('amp', 'float32'):
        flag = ['--amp'] if name == 'amp' else []
        options = ['--cfg-options', 'train_cfg.max_iters=3', 'default_hooks.checkpoint.interval=3']
        args = (config, *flag, '--work-dir', tmp_path / name, *options)
        output = python(TOOLS / 'train.py', tmp_path, *args)
        assert ('mixed precision is bfloat16 on the CPU' in output) == (name == 'amp')
        (lines,) = tiny_run.read_diary(tmp_path / name).values()
        first[name] = [float.fromhex(line['loss']) for line in lines]
    assert first['amp'][0] != first['float32'][0]
    assert first['amp'] == pytest.approx(first['float32'], rel=0.05)
    kept = load_checkpoint_file(next((tmp_path / 'amp').glob('iter_*.pth')))['state_dict']
    assert {x.dtype for x in kept.values()} == {torch.float32, torch.int64}


def test_slurm_scripts_start_one_task_per_gpu(tmp_path):
    """A stand-in for ``srun`` prints what it was asked to start."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    env = dict(
        PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', GPUS='16', SRUN_ARGS='--time=1 --mem=2'
    )
    words = shell('slurm_train.sh', 'gpu', 'job', 'c.py', '--resume', **env).split('\n')
    assert {
        '--partition=gpu',
        '--job-name=job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--kill-on-bad-exit=1',
        '--time=1',
        '--mem=2',
    } <= set(words)
    script = words.index(str(TOOLS / 'train.py'))
    assert words[script + 1 : script + 5] == ['c.py', '--resume', '--launcher', 'slurm']
    words = shell('slurm_test.sh', 'gpu', 'job', 'c.py', 'a.pth', **env).split('\n')
    script = words.index(str(TOOLS / 'test.py'))
    assert words[script + 1 : script + 5] == ['c.py', 'a.pth', '--launcher', 'slurm']
