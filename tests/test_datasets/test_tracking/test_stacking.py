"""Recordings to event frames on disk."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_tracking
from event_writers import SIZE, some_events, write_aedat4, write_dat

from mmbsa.datasets.tracking import TrackingDataset
from mmbsa.datasets.tracking.stacking import find_recording, stack_sequence, start_frames
from mmbsa.events import read_events, trajectory_prompt

TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'dataset_converters' / 'stack_events.py'
BORDERS = np.arange(0, 90_001, 3_000)


def sequence(root, name, split='train', rows=29):
    folder = root / split / name
    folder.mkdir(parents=True)
    write_dat(folder / 'events.dat', some_events(), size=SIZE)
    np.savetxt(folder / 'timestamps.txt', BORDERS, fmt='%d')
    np.savetxt(folder / 'groundtruth_rect.txt', tiny_tracking.boxes(rows), delimiter=',', fmt='%g')
    return folder


@pytest.mark.parametrize('steps', [1, 2])
def test_frames_are_what_the_dataset_reads(tmp_path, steps):
    folder = sequence(tmp_path, 'seq')
    assert stack_sequence(folder, 'FE108', steps, first=1) == 29 * steps
    pictures, _ = trajectory_prompt(read_events(folder / 'events.dat'), SIZE, BORDERS[1:], steps)
    data = TrackingDataset('FE108', str(tmp_path), 'train', num_steps=steps, test_mode=True)
    frames = data.get_data_info(0)['frames']
    for row in range(29):  # loaders see trajectory, off, on
        np.testing.assert_array_equal(frames[row], pictures[row].transpose(0, 2, 3, 1)[..., ::-1])
    assert stack_sequence(folder, 'FE108', steps, first=1) == 0  # they are there


def test_tool_converts_a_split_and_can_be_started_again(tmp_path, monkeypatch, capsys):
    for name in ('a', 'b'):
        sequence(tmp_path, name)
    (tmp_path / 'pair.txt').write_text('a 0\nb 4\n')
    (tmp_path / 'train' / 'c').mkdir()
    for name in ('.Trash', '__MACOSX'):
        (tmp_path / 'train' / name).mkdir()
    monkeypatch.setattr(sys, 'argv', [str(TOOL), 'FE108', str(tmp_path), '--workers', '1'])
    with pytest.raises(SystemExit, match='c: expected one recording'):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert '54 pictures of 2 sequences' in capsys.readouterr().out
    assert len(list((tmp_path / 'train' / 'b' / 'inter1_stack_3008').iterdir())) == 25
    (tmp_path / 'train' / 'c').rmdir()
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '0 pictures of 2 sequences' in capsys.readouterr().out


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    folder = sequence(tmp_path, 'seq')
    monkeypatch.setattr('cv2.imwrite', lambda *args: False)
    with pytest.raises(OSError, match='cannot be written'):
        stack_sequence(folder, 'FE108')
    assert not list(folder.glob('*stack*')) and not list(folder.glob('.*'))


def test_what_is_wrong_is_named(tmp_path):
    folder = sequence(tmp_path, 'seq')
    with pytest.raises(ValueError, match='the first 40 are skipped'):
        stack_sequence(folder, 'FE108', first=40)
    with pytest.raises(ValueError, match='COESOT.*no stacked frames'):
        stack_sequence(folder, 'COESOT')
    write_aedat4(folder / 'seq.aedat4', some_events())
    with pytest.raises(FileNotFoundError, match='found .*events.dat.*seq.aedat4'):
        find_recording(folder)
    (tmp_path / 'pair.txt').write_text('seq one\n')
    with pytest.raises(ValueError, match='pair.txt, line 1'):
        start_frames(tmp_path)
