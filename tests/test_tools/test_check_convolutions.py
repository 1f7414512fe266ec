"""The search for wrong convolutions finds what is wrong, survives crashes, and finds nothing in
ours."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

TOOLS = Path(__file__).resolve().parents[2] / 'tools/dev'
BASE = dict(
    op='conv2d',
    seed=1,
    layout='last',
    dtype='float32',
    threads=2,
    padding=[0, 0],
    dilation=[1, 1],
    groups=1,
    bias=True,
    weight_layout='contiguous',
    grad_layout='last',
)
#: the smallest of every kind that torch 2.14.1 got wrong, and sizes that crashed
WRONG = [
    dict(batch=6, channels=6, size=[48, 48], kernel=[1, 1], stride=[2, 2], outputs=12),
    dict(batch=9, channels=8, size=[24, 24], kernel=[1, 1], stride=[2, 2], outputs=16),
    dict(batch=3, channels=4, size=[48, 48], kernel=[1, 1], stride=[2, 2], outputs=2),
    dict(
        batch=6,
        channels=3,
        size=[48, 32],
        kernel=[1, 1],
        stride=[2, 1],
        outputs=12,
        dtype='bfloat16',
    ),
    dict(
        batch=4,
        channels=3,
        size=[2, 2],
        kernel=[3, 3],
        stride=[3, 3],
        padding=[1, 1],
        outputs=6,
        dtype='bfloat16',
    ),
    dict(
        batch=9,
        channels=35,
        size=[1, 1],
        kernel=[3, 3],
        stride=[2, 3],
        padding=[1, 1],
        outputs=6,
        dtype='bfloat16',
    ),
    dict(
        batch=1,
        channels=6,
        size=[48, 5],
        kernel=[5, 5],
        stride=[1, 3],
        outputs=12,
        groups=6,
        dtype='bfloat16',
        weight_layout='last',
    ),
    dict(
        batch=9,
        channels=30,
        size=[6, 4],
        kernel=[5, 5],
        stride=[5, 5],
        padding=[2, 2],
        outputs=30,
        groups=30,
        dtype='bfloat16',
    ),
    dict(
        batch=3,
        channels=40,
        size=[8, 48],
        kernel=[1, 1],
        stride=[1, 1],
        dilation=[2, 2],
        outputs=104,
        groups=8,
        dtype='bfloat16',
    ),
    dict(
        batch=7,
        channels=15,
        size=[32, 32],
        kernel=[3, 3],
        stride=[1, 1],
        padding=[1, 1],
        dilation=[2, 2],
        outputs=15,
        groups=15,
        dtype='bfloat16',
    ),
]


def load(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def search():
    return load('check_convolutions')


@pytest.fixture(scope='module')
def calls():
    """The worker's functions, in this process; the number of threads is put back."""
    threads = torch.get_num_threads()
    yield load('convolution_calls')
    torch.set_num_threads(threads)


def test_ours_is_right_where_torch_was_wrong(search, capsys):
    arguments = [part for case in WRONG for part in ('--case', json.dumps({**BASE, **case}))]
    assert search.main(['--ours', *arguments]) == 0, capsys.readouterr().out
    assert f'{len(WRONG)} calls, 0 wrong' in capsys.readouterr().out


def test_ours_is_right_at_random(search, capsys):
    assert search.main(['--ours', '--cases', '30', '--minutes', '2', '--seed', '7']) == 0, (
        capsys.readouterr().out
    )


def test_cases_are_calls_that_torch_takes(search, calls):
    """float64 never goes through oneDNN, so that it is safe to run here."""
    for op in search.OPS:
        for seed in range(6):
            case = search.draw_case(seed, [op], dict(dtype='float64'))
            assert calls.compare(case, False) == {} and search.kind_of(case).startswith(op)


@pytest.mark.parametrize('part', ['output', 'input', 'weight', 'bias'])
def test_a_wrong_result_is_found(calls, monkeypatch, part):
    case = {**BASE, **WRONG[0], 'kernel': [3, 3], 'dtype': 'float64'}

    def off(x):
        x = x.clone()
        x[(0,) * x.dim()] += 1e-3 * float(x.abs().max())
        return x

    def function_of(case, ours):
        def function(x, weight, bias):
            named = dict(input=x, weight=weight, bias=bias)
            if ours and part in named and named[part].requires_grad:
                named[part].register_hook(off)
            out = F.conv2d(x, weight, bias, case['stride'])
            if ours and part == 'output':
                out.data.copy_(off(out.data))
            return out

        return function

    monkeypatch.setattr(calls, 'function_of', function_of)
    assert list(calls.compare(case, True)) == [part]
    assert calls.compare({**case, 'only': part}, True).keys() == {part}


def test_a_crash_costs_one_case(search, tmp_path, monkeypatch, capsys):
    """A worker that aborts over the weight's gradient of one seed, and answers otherwise."""
    worker = tmp_path / 'a/b/worker.py'
    worker.parent.mkdir(parents=True)
    worker.write_text(
        'import json, os, sys\n'
        'for line in sys.stdin:\n'
        '    case = json.loads(line)\n'
        '    if case["seed"] == 2 and case.get("only", "weight") == "weight": os.abort()\n'
        '    print("{}", flush=True)\n'
    )
    monkeypatch.setattr(search, 'WORKER', worker)
    file = tmp_path / 'cases.json'
    assert search.main(['--cases', '5', '--ops', 'conv2d', '--json', str(file)]) == 1
    out = capsys.readouterr().out
    assert '5 calls, 1 wrong' in out and "'weight': 'SIGABRT" in out and '"seed": 2' in out
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [bool(wrong) for _, wrong in entries] == [False, False, True, False, False]


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the guard is for Linux')
def test_the_guard_ends_a_process_that_writes_past_a_block(search, tmp_path):
    guard = search.build_guard(str(tmp_path))
    if guard is None:
        pytest.skip('no C compiler')
    for past, fine in ((0, True), (1, False)):
        code = (
            'import torch, ctypes; x = torch.zeros(10); '
            f'ctypes.memset(x.data_ptr() + 40 - 1 + {past}, 1, 1); del x; print("done")'
        )
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code],
            env={**os.environ, 'LD_PRELOAD': str(guard)},
            capture_output=True,
            text=True,
        )
        assert ('done' in done.stdout and done.returncode == 0) == fine, (past, done)
