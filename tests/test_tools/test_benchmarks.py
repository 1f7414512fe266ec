"""The benchmarks run, refuse to speak when a test is red, and compare their own files."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'


def run(tool, *args):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import harness

    return harness


def test_ops_benchmark_writes_figures(tmp_path):
    report, picture = tmp_path / 'ops.json', tmp_path / 'ops.png'
    done = run(
        'ops.py',
        '--no-tests',
        '--n',
        9,
        17,
        '--d',
        4,
        '--heads',
        2,
        '--batch',
        1,
        '--neurons',
        64,
        300,
        '--steps',
        2,
        '--layers',
        '1x1 down',
        '--repeats',
        2,
        '--threads',
        1,
        '--json',
        report,
        '--plot',
        picture,
    )
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 1000
    rows = json.loads(report.read_text())['rows']
    assert {row['op'] for row in rows} == {
        'bipolar_attention',
        'conv_weight_grad',
        'lif',
        'ternary_lif',
    }
    assert {'softmax sdpa', 'SpikingJelly', 'FlexSN', 'sdpa', 'reference', 'conv2d'} <= {
        row['name'] for row in rows
    }
    for row in rows:
        assert row['low'] <= row['ms'] <= row['high'] and row['peak'] > 0 and 0 < row['limit']
        assert row['speedup'][row['name']] == 1
    compared = run('ops.py', '--compare', report, report)
    assert compared.stdout.count('| 1.00 |') == len(rows)


def test_ops_growth_is_plotted(tmp_path, harness, monkeypatch):
    import ops

    picture, report = tmp_path / 'growth.png', tmp_path / 'growth.json'
    small = dict(n=('n', [8], (4, 8)), d=('d', [4], (2, 4)), batch=('batch', 2, (1, 2)))
    monkeypatch.setattr(ops.Attention, 'sizes', small)
    monkeypatch.setattr(
        ops.Neurons, 'sizes', dict(n=('neurons', [64], (16, 64)), T=('steps', [2], (1, 2)))
    )
    with pytest.raises(SystemExit, match='conv_weight_grad has layers instead of sizes'):
        ops.main(['--grow', '--no-tests'])
    ops.main(
        [
            '--op',
            'bipolar_attention',
            'ternary_lif',
            '--no-tests',
            '--grow',
            '--heads',
            '1',
            '--repeats',
            '1',
            '--impl',
            'reference',
            '--json',
            str(report),
            '--plot',
            str(picture),
            '--threads',
            str(torch.get_num_threads()),
        ]
    )
    assert picture.stat().st_size > 1000
    points = {
        (row['op'], row['axis'], *(row['point'].get(k) for k in ('n', 'd', 'batch', 'T')))
        for row in json.loads(report.read_text())['rows']
    }
    assert points == {
        ('bipolar_attention', 'n', 4, 4, 2, None),
        ('bipolar_attention', 'n', 8, 4, 2, None),
        ('bipolar_attention', 'd', 8, 2, 2, None),
        ('bipolar_attention', 'd', 8, 4, 2, None),
        ('bipolar_attention', 'batch', 8, 4, 1, None),
        ('bipolar_attention', 'batch', 8, 4, 2, None),
        ('ternary_lif', 'n', 16, None, None, 2),
        ('ternary_lif', 'n', 64, None, None, 2),
        ('ternary_lif', 'T', 64, None, None, 1),
        ('ternary_lif', 'T', 64, None, None, 2),
    }


def test_models_benchmark_writes_figures(tmp_path):
    report, picture = tmp_path / 'models.json', tmp_path / 'models.png'
    done = run(
        'models.py',
        '--no-tests',
        '--models',
        'espikeformer-t-bsa',
        '--size',
        32,
        '--batch',
        1,
        '--repeats',
        2,
        '--threads',
        1,
        '--twin',
        '--inference',
        '--profile',
        '--keep-memory',
        '--memory',
        '--json',
        report,
        '--plot',
        picture,
    )
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 1000
    (result,) = json.loads(report.read_text())['results']
    assert (
        result['ours']['mib'] > 0 and result['ours']['both']['ms'] > result['ours']['forward']['ms']
    )
    assert (
        0
        < result['ours']['forward']['limit_ms']
        == pytest.approx(result['ours']['both']['limit_ms'] / 3)
    )
    saved = result['held']['saved']
    assert saved['products of spikes, int8'] > saved.get('products of spikes, float32', 0) > 0
    assert saved['norms: their inputs, float32'] > 0 and result['held']['given back']['mib'] > 0
    assert 0 < result['ours']['tensors'] and '| peak of tensors | ' in done.stdout
    assert '| products of spikes, int8 |' in done.stdout
    assert {
        'attention',
        'neurons',
        'norms',
        'convolution, forward',
        'convolution, backward',
    } <= set(result['profile'])
    assert (
        min(result['profile'].values()) >= 0
        and 'both' not in result['fused']
        and 'graph' not in result
    )
    assert (
        '| espikeformer-t-bsa fused forward |'
        in run('models.py', '--compare', report, report).stdout
    )
    assert (
        result['kept']['both']['units'] > 0
        and result['kept']['mib'] > 0
        and 'x given back' in done.stdout
    )
    assert '| espikeformer-t-bsa ann both |' in run('models.py', '--compare', report, report).stdout
    assert 'unknown model' in run('models.py', '--no-tests', '--models', 'vit').stderr


def test_models_run_beside_other_code(harness, tmp_path):
    import models

    other = tmp_path / 'published.py'
    other.write_text(
        'from helper import size\n'
        'from spikingjelly.activation_based.neuron import LIFNode\n'
        'from torch import nn\n'
        'def small():\n'
        '    return nn.Sequential(nn.Conv2d(3, size, 1), LIFNode())\n'
        'def text():\n'
        '    return "small"\n'
    )
    (tmp_path / 'helper.py').write_text('size = 4\n')
    report = tmp_path / 'models.json'
    model = 'espikeformer-t'
    options = '--beside', f'{model}={other}:small', '--repeats', 1, '--json', report
    options += '--inference', '--memory'
    done = run('models.py', '--no-tests', '--models', model, '--size', 32, *options)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(report.read_text())['results']
    ours, beside = result['ours'], result['beside']
    ratio = f'{beside["both"]["ms"] / ours["both"]["ms"]:.2f}'
    assert beside['both']['ms'] > 0 and 'both' not in result['beside eval']
    assert 'forward units (x the code of --beside; limit)' in done.stdout and ratio in done.stdout
    assert f'({beside["mib"]:.0f}) |' in done.stdout and 'beside eval' in done.stdout
    assert beside['tensors'] < ours['tensors'] and result['held']['beside given back']['mib'] > 0
    assert f'| peak of tensors, the code of --beside | {beside["tensors"]:.0f} |' in done.stdout
    for text, message in (
        (f'{model}={other}', 'expected MODEL=FILE.py:FUNCTION'),
        (f'vit={other}:small', "'vit' is not in --models"),
        (f'{model}={tmp_path}/no.py:small', 'there is no file'),
    ):
        with pytest.raises(SystemExit, match=message):
            models.besides([text], [model])
    for function, message in (('large', "no function 'large'"), ('text', 'expected a module')):
        args = argparse.Namespace(beside=models.besides([f'{model}={other}:{function}'], [model]))
        with pytest.raises(SystemExit, match=message):
            models.build_beside(model, args)


def test_models_in_16_bits(harness):
    import models

    args = argparse.Namespace(
        device='cpu',
        dtype=torch.bfloat16,
        size=32,
        batch=1,
        twin=False,
        inference=False,
        no_spikingjelly=True,
        beside={},
    )
    x = models.images('spikingformer-8-384-bsa', args)
    candidate = models.candidates('spikingformer-8-384-bsa', args, x)['ours']
    seen = set()
    candidate.model.backbone.register_forward_hook(
        lambda module, inputs, out: seen.add(out[-1].dtype)
    )
    assert models.step(candidate, x, True, args.dtype) > 0 and seen == {torch.bfloat16}


def test_kernels_are_judged_where_they_run(harness, monkeypatch):
    import ops

    for reason, found in (('no device', False), (None, True)):
        monkeypatch.setattr(ops.triton_support, 'missing', lambda reason=reason: reason)
        files = ops.judges(sorted(ops.OPS))
        assert {
            'tests/test_ops/test_lif_triton.py',
            'tests/test_ops/test_bipolar_triton.py',
        }.issubset(files) is found
        assert all((TOOLS.parents[1] / file).is_file() for file in files) and len(
            set(files)
        ) == len(files)


def test_red_tests_silence_a_benchmark(harness, tmp_path):
    red = tmp_path / 'test_red.py'
    red.write_text('def test_red():\n    assert 1 == 2\n')
    with pytest.raises(SystemExit, match='no speed is reported'):
        harness.gate(str(red))


def test_files_that_cannot_be_compared(harness, tmp_path):
    (tmp_path / 'a.json').write_text('{}')
    with pytest.raises(SystemExit, match=r'a\.json is not a report of a benchmark'):
        harness.compare([tmp_path / 'a.json'] * 2, lambda row: (row['name'],))
