"""``tools/track.py`` on folders of frames and event files."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_tracking
import torch
from mmengine.config import Config

from mmbsa.apis.tracking import load_tracker, track_frames
from mmbsa.events import make_events
from mmbsa.structures import track_files
from mmbsa.structures.track_files import read_boxes
from mmbsa.visualization.tracks import TRUE

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'track.py'
CONFIG = """
default_scope = 'mmbsa'
model = dict(
    type='SDTrack',
    backbone=dict(type='ESpikeFormer', num_steps={steps},
                  arch=dict(embed_dims=(8, 8, 16, 16), depths=(1, 1), num_heads=2,
                  with_conv=False)),
    head=dict(type='CentreHead', channels=8), crops=dict(template_size=32, search_size=64))
"""


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Config and checkpoint by T."""
    folder, found = tmp_path_factory.mktemp('models'), {}
    for steps in (1, 2):
        config = folder / f'model{steps}.py'
        config.write_text(CONFIG.format(steps=steps))
        torch.manual_seed(steps)
        model = load_tracker(config, None)
        torch.save(dict(state_dict=model.state_dict()), folder / f'model{steps}.pth')
        found[steps] = (config, folder / f'model{steps}.pth')
    return found


def run(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args), '--device', 'cpu'])
    runpy.run_path(str(TOOL), run_name='__main__')
    return capsys.readouterr().out.splitlines()[-1]


def test_folder_of_frames(models, tmp_path, monkeypatch, capsys):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=7)
    line = run(monkeypatch, capsys, folder, *models[1], '--out', tmp_path / 'out')
    assert line.startswith('7 frames, ') and 'frames per second on cpu' in line
    boxes = read_boxes(tmp_path / 'out' / 'seq.txt')
    assert boxes.shape == (7, 4) and boxes[0].tolist() == tiny_tracking.boxes(1)[0].tolist()
    assert len((tmp_path / 'out' / 'seq_time.txt').read_text().split()) == 7
    video = cv2.VideoCapture(str(tmp_path / 'out' / 'video.mp4'))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 7
    assert cv2.imread(str(tmp_path / 'out' / 'strip.png')).shape[0] == 2 * 240


@pytest.mark.parametrize('bf16', [True, False])
def test_mixed_precision_needs_a_processor_with_bfloat16(
    models, tmp_path, monkeypatch, capsys, bf16
):
    from mmbsa.apis.tracking import run as module

    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=4)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: dict(avx512_bf16=bf16))
    used = []
    autocast = torch.autocast
    monkeypatch.setattr(
        module.torch, 'autocast', lambda *a, **b: used.append(b['enabled']) or autocast(*a, **b)
    )
    run(monkeypatch, capsys, folder, *models[1], '--no-video', '--amp', '--out', tmp_path / 'out')
    assert any(used) == bf16


def test_scores_in_mixed_precision_are_close(models):
    model = load_tracker(*models[1])
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (1, 60, 80, 3)).astype(np.uint8) for _ in range(3)]
    exact, low = (list(track_frames(model, frames, (30, 20, 16, 12), amp)) for amp in (False, True))
    for a, b in zip(exact[1:], low[1:]):
        assert a.score != b.score and abs(a.score - b.score) < 0.02


def test_event_file_with_two_steps_and_fused_norms(models, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    stream = make_events(
        rng.integers(0, 80, 3000),
        rng.integers(0, 60, 3000),
        np.sort(rng.integers(0, 200_000, 3000)),
        rng.integers(0, 2, 3000),
    )
    np.savez(tmp_path / 'rec.npz', **{name: stream[name] for name in 'xytp'})
    line = run(
        monkeypatch,
        capsys,
        tmp_path / 'rec.npz',
        *models[2],
        '--box',
        30,
        20,
        16,
        12,
        '--window',
        20000,
        '--sensor-size',
        60,
        80,
        '--out',
        tmp_path / 'out',
        '--no-video',
        '--fuse',
        '--max-frames',
        5,
    )
    assert line.startswith('5 frames')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'rec.txt',
        'rec_time.txt',
        'strip.png',
    ]


@pytest.mark.parametrize(
    'args, message',
    [
        (['--box', 500, 20, 10, 10], 'is outside of the frame, which has 60 x 40'),
        (['--box', 5, 20, 0, 10], 'has no area'),
        (['--box', 0, 0, 1e9, 1e9], 'too large; expected at most twice.* 60 x 40'),
        (['--max-frames', 0], '--max-frames must be at least 1, got 0'),
        (['--rate', 0], '--rate must be above 0, got 0'),
        (['--strip', 1], '--strip must be at least 2, got 1'),
        ([], 'give the target with --box'),
    ],
)
def test_nothing_is_written_for_a_bad_option(models, tmp_path, monkeypatch, capsys, args, message):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=3)
    (folder / 'groundtruth_rect.txt').unlink()
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, capsys, folder, *models[1], *args, '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_interrupted_recordings_leave_no_video(models, tmp_path, monkeypatch, capsys):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=5)
    (folder / 'img' / '0004.png').write_bytes(b'broken')
    with pytest.raises(SystemExit, match='0004.png.*results of the 3 frames before the error are'):
        run(monkeypatch, capsys, folder, *models[1], '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('fault', ['folder', 'disk'])
def test_files_are_written_together(models, tmp_path, monkeypatch, capsys, fault):
    folder = tiny_tracking.write_sequence('frames', tmp_path, 'test', 'seq', length=3)
    out = tmp_path / 'out'
    out.mkdir()
    for name in ('video.mp4', 'strip.png', 'seq.txt'):
        (out / name).write_text('old')
    if fault == 'folder':
        (out / 'seq_time.txt').mkdir()
    else:

        def fail(*args):
            raise OSError('the disk is full')

        monkeypatch.setattr(track_files, 'write_times', fail)
    with pytest.raises(SystemExit, match='seq_time.txt is a folder|disk is full'):
        run(monkeypatch, capsys, folder, *models[1], '--out', out)
    assert {path.name: path.read_text() for path in out.iterdir() if path.is_file()} == {
        'video.mp4': 'old',
        'strip.png': 'old',
        'seq.txt': 'old',
    }
    assert [path.name for path in out.iterdir() if path.is_dir()] == ['seq_time.txt'] * (
        fault == 'folder'
    )


def test_true_boxes_of_event_files_need_frame_times_or_the_option(
    models, tmp_path, monkeypatch, capsys
):
    number = np.arange(2000)
    np.savez(tmp_path / 'rec.npz', x=number % 60, y=number % 40, t=number * 50, p=number % 2)
    (tmp_path / 'groundtruth.txt').write_text('40,5,15,10\n' * 5)
    command = [tmp_path / 'rec.npz', *models[1], '--sensor-size', 40, 60, '--out', tmp_path / 'out']
    command += ['--box', 5, 20, 15, 15, '--no-video', '--max-frames', 1]

    def green():
        return (cv2.imread(str(tmp_path / 'out' / 'strip.png'))[..., ::-1] == TRUE).all(-1).any()

    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, command), '--device', 'cpu'])
    runpy.run_path(str(TOOL), run_name='__main__')
    lines = [line for line in capsys.readouterr().out.splitlines() if 'true boxes' in line]
    assert len(lines) == 1 and 'groundtruth.txt has 5 rows' in lines[0] and not green()
    run(monkeypatch, capsys, *command, '--row-per-frame')
    assert green()


def test_checkpoints_and_configs_must_fit(models, tmp_path):
    cfg = Config.fromfile(models[1][0])
    cfg.model.head.channels = 16
    with pytest.raises(ValueError, match=r"does not fit the config: sizes \['head"):
        load_tracker(cfg, models[1][1])
    torch.save(dict(state_dict={'nothing': torch.zeros(1)}), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match="x.pth does not fit.*unexpected \\['nothing'\\]"):
        load_tracker(models[1][0], tmp_path / 'x.pth')
