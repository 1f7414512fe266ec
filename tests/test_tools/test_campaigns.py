"""Short versions of the campaigns in tools/dev, and the machinery that runs them."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run

pytestmark = [
    pytest.mark.seg,
    pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='campaigns look at /proc'),
]
DEV = str(tiny_run.ROOT / 'tools' / 'dev')


def tool(name: str):
    if DEV not in sys.path:
        sys.path.insert(0, DEV)
    return importlib.import_module(name)


def in_process(function: str, seconds: float, folder: Path, *args):
    """Call a function of this module in a process that may fork, away from the threads of the
    tests; return what it returns, by way of JSON."""
    log = folder / 'returned.json'
    process = tiny_run.start(_call, function, str(folder), str(log), args)
    assert tiny_run.finish(process, seconds=seconds) == [0]
    return json.loads(log.read_text())


def _call(function: str, folder: str, log: str, args: tuple) -> None:
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    tool('kill_tasks').preload()
    Path(log).write_text(json.dumps(globals()[function](Path(folder), *args)))


def kill(folder: Path) -> list:
    found = []
    for name in ('cache', 'train'):  # by hand also 'convert' and 'ablate'
        (here := folder / name).mkdir()
        counts, faults = tool('campaign_kills').kills(tool('kill_tasks').TASKS[name], here, 1, 60)
        found.append([dict(counts), faults])
    return found


def test_what_is_killed_goes_on_and_leaves_the_same(tmp_path):
    for counts, faults in in_process('kill', 600, tmp_path):
        assert not faults, '\n'.join(faults)
        assert counts['kills'] >= 1 and counts['through'] == counts['equal'] >= 1
        assert counts['processes left'] == 0


def limits(folder: Path) -> list[str]:
    campaign = tool('campaign_limits')
    return [
        fault
        for name in campaign.CASES
        for fault in campaign.campaign(name, 1, folder, seed=len(name))
    ]


def test_what_is_lacking_is_said_and_the_checkpoints_stay(tmp_path):
    faults = in_process('limits', 900, tmp_path)
    assert not faults, '\n'.join(faults)


def nodes(folder: Path, name: str) -> list[str]:
    return tool('campaign_nodes').campaign(name, 1, folder, seed=1)


def has_namespaces() -> bool:
    try:
        return subprocess.run(['unshare', '-n', 'ip', 'link'], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize('name', ['death', 'link'])
def test_a_loss_ends_all_others_and_is_named(tmp_path, name):
    if name == 'link' and not has_namespaces():
        pytest.skip('there are no network namespaces here: needs root')
    faults = in_process('nodes', 600, tmp_path, name)
    assert not faults, '\n'.join(faults)


def inputs(folder: Path, count: int) -> tuple:
    counts, bad = tool('campaign_inputs').run(count, seed=7)
    return {' '.join(key): number for key, number in counts.items()}, bad


def test_damaged_files_and_configs_are_named(tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmpretrain')
    counts, bad = in_process('inputs', 300, tmp_path, 140)
    assert not bad and sum(counts.values()) == 140
    kinds = tool('campaign_inputs').KINDS
    assert all(counts.get(f'{kind} named', 0) > 3 for kind in kinds)
    assert counts['checkpoint result'] and counts['photo result'] and counts['config result']


def crash_or_hang(index: int) -> tuple:
    if index == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 3:
        time.sleep(60)
    return 'result', index


def cases(folder: Path) -> list:
    return tool('forked').run_cases(crash_or_hang, 5, seconds=1.5)


def test_crashes_and_hangs_cost_their_own_case(tmp_path):
    assert in_process('cases', 60, tmp_path) == [
        ['result', 0],
        ['crash', -signal.SIGSEGV],
        ['result', 2],
        ['hang', None],
        ['result', 4],
    ]
