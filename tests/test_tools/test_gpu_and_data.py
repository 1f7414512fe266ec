"""The GPU's checks in Triton's interpreter, the report, and the rates of a training loop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / 'tools' / 'benchmarks'


def run(script, *args, expect=0, **env):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, args)],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': '', **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == expect, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_checks_pass_in_the_interpreter(tmp_path):
    pytest.importorskip('triton')
    out = run('gpu.py', 'check', '--small', '--json', tmp_path / 'c.json', TRITON_INTERPRET='1')
    found = json.loads((tmp_path / 'c.json').read_text())
    assert found == dict(passed=4, failed={}) and out.count(': passed') == 4


def test_report_names_what_failed(tmp_path):
    (tmp_path / 'steps.txt').write_text('checks 0 5\nneurons 124 60\nmodels 77 0\n')
    (tmp_path / 'checks.json').write_text('{"passed": 3}')
    (tmp_path / 'neurons.log').write_text('noise\n| n | ms |\n|---|---|\n| 1 | 2 |\n')
    out = run('gpu.py', 'report', tmp_path, expect=1)
    assert '| neurons | out of time | 60 |' in out and '| models | left out: no mm' in out
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['checks'] == dict(passed=3) and report['steps']['neurons']['code'] == 124
    assert '| 1 | 2 |' in (tmp_path / 'report.md').read_text()


def test_gpu_script_refuses_without_a_gpu(tmp_path):
    env = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHON': sys.executable}
    script = [str(BENCHMARKS / 'gpu.sh'), str(tmp_path / 'out')]
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and '--smoke' in done.stderr


def test_rates_of_a_training_loop(tmp_path):
    pytest.importorskip('mmpretrain')
    config = ROOT / 'configs' / 'espikeformer' / 'espikeformer_s_8xb256-200e_imagenet-224.py'
    options = ['--batch', 2, '--iters', 1, '--images', 2, '--threads', 1, '--workers', 1]
    out = run('data.py', config, *options, '--profile', '--json', tmp_path / 'd.json')
    found = json.loads((tmp_path / 'd.json').read_text())
    assert found['share'] == found['loop'] / found['model'] > 0 and found['data'] > 0
    assert '| LoadImageFromFile |' in out and '| TimmRandAugment |' in out
