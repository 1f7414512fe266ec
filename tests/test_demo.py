"""The notebook runs from top to bottom, and the files of ``demo`` are those of the generators."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmbsa.events import read_events

DEMO = Path(__file__).resolve().parents[1] / 'demo'


def test_notebook_runs(tmp_path):
    pytest.importorskip('mmseg')
    pytest.importorskip('matplotlib')
    shutil.copytree(DEMO, tmp_path / 'demo', ignore=shutil.ignore_patterns('work_dirs'))
    notebook = json.loads((DEMO / 'mmbsa_tutorial.ipynb').read_text())
    cells = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert len(cells) > 5 and not any(cell['outputs'] for cell in cells)
    script = tmp_path / 'demo' / 'cells.py'
    script.write_text('\n\n'.join(''.join(cell['source']) for cell in cells))
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(DEMO.parent), os.environ.get('PYTHONPATH', '')]),
        MPLBACKEND='Agg',
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='',
    )
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert 'the op computes the same:   True' in done.stdout
    assert 'label map: (192, 256)' in done.stdout
    assert 'the same, bit for bit: True' in done.stdout


def test_recording_is_whole():
    events = read_events(DEMO / 'moving_square.npz', sensor_size=(80, 120))
    assert len(events) == 2400 and set(events['p'].tolist()) == {0, 1}
