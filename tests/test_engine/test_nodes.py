"""Machines without a common file system: results, best checkpoint and resume need the network
alone."""

import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_run
import torch

from mmbsa.engine.nodes import fingerprint, gather_through_group, share_file
from mmbsa.utils.checkpoint import load_checkpoint_file

pytestmark = pytest.mark.seg
TRAIN = tiny_run.ROOT / 'tools' / 'train.py'


def in_folder(folder: str, script: str, log: str, args: list, env: dict) -> None:
    os.chdir(folder)
    tiny_run.run_script(script, log, *args, **env)


def on_nodes(folders: list[Path], *args, expect: int = 0) -> str:
    """Run train.py as the only process of a machine in every folder; return the output of all."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = str(listener.getsockname()[1])
    started = []
    for rank, folder in enumerate(folders):
        env = dict(
            RANK=str(rank),
            LOCAL_RANK='0',
            WORLD_SIZE=str(len(folders)),
            LOCAL_WORLD_SIZE='1',
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port,
            CUDA_VISIBLE_DEVICES='',
        )
        started.append(
            tiny_run.start(
                in_folder,
                str(folder),
                str(TRAIN),
                'output.txt',
                [*map(str, args), '--launcher', 'pytorch'],
                env,
            )
        )
    codes = tiny_run.finish(*started, seconds=300)
    output = '\n'.join((folder / 'output.txt').read_text() for folder in folders)
    assert codes == [expect] * len(folders), output[-6000:]
    return output


@pytest.fixture
def nodes(tmp_path):
    folders = [tmp_path / name for name in ('a', 'b')]
    for folder in folders:
        folder.mkdir()
        tiny_run.write_dataset(folder / 'data')  # each machine has data of its own
    config = tmp_path / 'tiny.py'
    config.write_text(
        tiny_run.TEMPLATE.format(
            runtime=str(tiny_run.RUNTIME), root='data', classes=tiny_run.CLASSES
        )
    )
    return config, folders


def test_two_machines_train_validate_and_resume_in_folders_of_their_own(nodes, tmp_path):
    config, (first, second) = nodes
    options = [
        '--work-dir',
        'run',
        '--cfg-options',
        'train_cfg.val_interval=4',
        'default_hooks.checkpoint.interval=3',
    ]
    on_nodes([first, second], config, *options, 'train_cfg.max_iters=6')
    assert (first / 'run/iter_6.pth').is_file() and list((first / 'run').glob('best_mIoU*.pth'))
    assert not list((second / 'run').glob('*.pth')), 'one machine keeps the checkpoints'
    assert not (first / '.dist_test').exists() and not (second / '.dist_test').exists()

    (second / 'run/iter_6.pth').write_bytes(b'of an older run')
    # by a relative path, which means another file on the second machine (an absolute one is the
    # same file in this test)
    resumed = on_nodes(
        [first, second], config, '--resume', 'run/iter_6.pth', *options, 'train_cfg.max_iters=8'
    )
    assert 'iter_6.pth is not on every machine: the first process sends it' in resumed
    assert (second / 'run/iter_6.pth').read_bytes() == b'of an older run' and not list(
        second.rglob('received/*')
    )

    # the same in one shared folder, without interruption
    shared = tmp_path / 'shared'
    shared.mkdir()
    shutil.copytree(first / 'data', shared / 'data')
    on_nodes([shared, shared], config, *options, 'train_cfg.max_iters=8')
    diaries = [tiny_run.read_diary(first / 'run')[0], tiny_run.read_diary(second / 'run')[1]]
    expected = tiny_run.read_diary(shared / 'run')
    assert diaries == [expected[0], expected[1]] and len(diaries[0]) == 8
    states = [
        load_checkpoint_file(folder / 'run/iter_8.pth')['state_dict'] for folder in (first, shared)
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_files_that_one_machine_lacks_are_named(nodes):
    config, (first, second) = nodes
    (second / 'data/ann/train/03.png').unlink()
    output = on_nodes([first, second], config, '--work-dir', 'run', expect=1)
    assert output.count('1 files are missing on ') == 2 and 'ann/train/03.png' in output


def test_one_process_keeps_its_file(tmp_path):
    (tmp_path / 'a').write_bytes(b'x')
    assert share_file(str(tmp_path / 'a'), str(tmp_path)) == str(tmp_path / 'a')
    assert fingerprint(str(tmp_path / 'a')) == fingerprint(str(tmp_path / 'a')) != fingerprint(None)
    assert fingerprint(str(tmp_path / 'none')) is None


def test_metrics_inside_of_metrics_are_told():
    inner, plain = (
        SimpleNamespace(collect_device='cpu', collect_dir='x'),
        SimpleNamespace(collect_device='cpu'),
    )
    evaluator = SimpleNamespace(
        metrics=[SimpleNamespace(collect_device='cpu', _metrics=dict(a=[inner])), plain]
    )
    gather_through_group(evaluator)
    assert inner.collect_device == plain.collect_device == 'gpu' and inner.collect_dir is None
