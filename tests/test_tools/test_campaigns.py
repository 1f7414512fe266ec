"""Short versions of the campaigns in tools/dev: kills, full disks, damaged files; and the machinery
that runs them."""

import importlib
import os
import signal
import sys
import time

import pytest
import tiny_run

pytestmark = pytest.mark.seg


@pytest.fixture(scope='module', autouse=True)
def on_path():
    sys.path.insert(0, str(tiny_run.ROOT / 'tools' / 'dev'))
    yield
    sys.path.remove(str(tiny_run.ROOT / 'tools' / 'dev'))


def kills_and_disks(folder: str, log: str) -> None:
    """In a process that forks, away from the threads of the tests."""
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    sys.path.insert(0, str(tiny_run.ROOT / 'tools' / 'dev'))
    campaign = importlib.import_module('campaign_kills')
    from pathlib import Path

    campaign.preload()
    parts = [Path(folder) / name for name in ('kills', 'disks')]
    for part in parts:
        part.mkdir()
    killed, faults = campaign.kills(parts[0], 3, 60)
    full, more = campaign.full_disks(parts[1], 2)
    Path(log).write_text(repr((dict(killed), dict(full), faults + more)))


def test_kills_and_full_disks_leave_a_run_whole(tmp_path):
    assert tiny_run.finish(
        tiny_run.start(kills_and_disks, str(tmp_path), str(tmp_path / 'log')), seconds=600
    ) == [0]
    killed, full, faults = eval((tmp_path / 'log').read_text())
    assert not faults, '\n'.join(faults)
    assert (
        killed['kills'] >= 1
        and killed['runs equal'] == killed['runs through'] >= 1
        and not killed['processes left']
    )
    assert full['ended'] == full['named a file'] == 2


def inputs(log: str) -> None:
    sys.path.insert(0, str(tiny_run.ROOT / 'tools' / 'dev'))
    from pathlib import Path

    counts, bad = importlib.import_module('campaign_inputs').run(80, seed=7)
    Path(log).write_text(repr((dict(counts), bad)))


def test_damaged_files_are_named(tmp_path):
    assert tiny_run.finish(tiny_run.start(inputs, str(tmp_path / 'log')), seconds=300) == [0]
    counts, bad = eval((tmp_path / 'log').read_text())
    assert not bad and sum(counts.values()) == 80
    assert all(counts[what, 'named'] > 3 for what in ('checkpoint', 'photo', 'labels', 'recording'))
    assert counts['checkpoint', 'result'] and counts['photo', 'result']


def crash_or_hang(index: int) -> tuple:
    if index == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 3:
        time.sleep(60)
    return 'result', index


def cases(log: str) -> None:
    sys.path.insert(0, str(tiny_run.ROOT / 'tools' / 'dev'))
    from pathlib import Path

    Path(log).write_text(
        repr(importlib.import_module('forked').run_cases(crash_or_hang, 5, seconds=1.5))
    )


def test_crashes_and_hangs_cost_their_own_case(tmp_path):
    assert tiny_run.finish(tiny_run.start(cases, str(tmp_path / 'log')), seconds=60) == [0]
    assert eval((tmp_path / 'log').read_text()) == [
        ('result', 0),
        ('crash', -signal.SIGSEGV),
        ('result', 2),
        ('hang', None),
        ('result', 4),
    ]
