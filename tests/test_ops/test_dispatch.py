"""Which implementation runs, and what is said when none can."""

import subprocess
import sys

import pytest
import torch
from score_rows import spikes

from mmbsa.ops import bipolar_attention, dispatch, implementations, shiftmax


@pytest.fixture
def toy(monkeypatch):
    """An op of three implementations.

    one this machine lacks, one that takes even numbers only, one that takes all.
    """
    monkeypatch.setattr(dispatch, '_TABLE', dict(dispatch._TABLE))
    monkeypatch.delenv(dispatch.ENV, raising=False)
    for name, missing, refuses in (
        ('gpu', lambda: 'no GPU here', lambda x: None),
        ('even', lambda: None, lambda x: f'{x} is odd' if x % 2 else None),
        ('any', lambda: None, lambda x: None),
    ):
        dispatch.register('toy', dispatch.Implementation(name, None, None, missing, refuses))
    return 'toy'


def test_auto_takes_the_first_that_can(toy):
    assert implementations(toy) == ['even', 'any']
    assert [dispatch.resolve(toy, 'auto', x) for x in (2, 3)] == ['even', 'any']


def test_an_explicit_request_runs_or_says_why_not(toy):
    assert dispatch.resolve(toy, 'any', 2) == 'any'
    with pytest.raises(RuntimeError, match="impl='gpu' does not support this call: no GPU here"):
        dispatch.resolve(toy, 'gpu', 2)
    with pytest.raises(RuntimeError, match="impl='even' does not support this call: 3 is odd"):
        dispatch.resolve(toy, 'even', 3)
    with pytest.raises(ValueError, match="impl must be one of .*'gpu', 'even', 'any'"):
        dispatch.resolve(toy, 'cpu', 3)


def test_environment_overrides_auto_only(toy, monkeypatch):
    monkeypatch.setenv(dispatch.ENV, 'any')
    assert dispatch.resolve(toy, 'auto', 2) == 'any'
    assert dispatch.resolve(toy, 'even', 2) == 'even'
    monkeypatch.setenv(dispatch.ENV, 'even')
    with pytest.raises(
        RuntimeError, match=f"{dispatch.ENV}='even' does not support this call: 3 is odd"
    ):
        dispatch.resolve(toy, 'auto', 3)
    monkeypatch.setenv(dispatch.ENV, 'sdpa')  # another op's
    assert dispatch.resolve(toy, 'auto', 3) == 'any'
    monkeypatch.setenv(dispatch.ENV, 'fpga')
    with pytest.raises(ValueError, match=f"{dispatch.ENV}='fpga': no op has"):
        dispatch.resolve(toy, 'auto', 2)


def test_nobody_can(toy):
    dispatch._TABLE['toy'] = {name: dispatch._TABLE['toy'][name] for name in ('gpu', 'even')}
    with pytest.raises(
        RuntimeError, match='no implementation supports this call.*no GPU here.*3 is odd'
    ):
        dispatch.resolve(toy, 'auto', 3)


def test_names_are_unique_and_known(toy):
    for name in ('any', 'auto'):
        with pytest.raises(ValueError, match='is already registered'):
            dispatch.register(toy, dispatch.Implementation(name, None, None))
    with pytest.raises(ValueError, match="unknown op 'tyo'; the ops are .*'bipolar_attention'"):
        implementations('tyo')


def test_ops_of_the_package(monkeypatch):
    monkeypatch.delenv(dispatch.ENV, raising=False)
    names = [x for x in implementations('bipolar_attention') if x != 'triton']
    assert [x for x in names if x != 'native'] == [
        'sdpa',
        'reference',
    ]  # native: where there is a compiler
    assert implementations('shiftmax') == ['reference']
    q, k, v = spikes((2, 9, 4)), spikes((2, 9, 4), seed=1), torch.randn(2, 9, 4)
    assert torch.equal(bipolar_attention(q, k, v), bipolar_attention(q, k, v, impl=names[0]))
    monkeypatch.setenv(dispatch.ENV, 'reference')
    assert torch.equal(bipolar_attention(q, k, v), bipolar_attention(q, k, v, impl='reference'))
    assert shiftmax(q).shape == q.shape


def test_ops_do_not_need_triton():
    code = (
        'import sys; sys.modules["triton"] = None; import torch, mmbsa.ops as ops; x = '
        'torch.ones(3, 2); '
        'print(ops.bipolar_attention(x, x, x).tolist(), "mmengine" in sys.modules)'
    )
    out = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    ).stdout
    assert out.split()[-1] == 'False' and out.startswith('[[0.75')
