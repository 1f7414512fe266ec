"""Recordings to event frames on disk."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_tracking
from event_writers import SIZE, some_events, write_aedat4, write_dat

from mmbsa.datasets.tracking import TrackingDataset
from mmbsa.datasets.tracking.stacking import (
    find_recording,
    stack_sequence,
    start_frames,
    window_borders,
)
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
    (tmp_path / 'pair.txt').write_text('a 0\nb 4\nc 0\n')
    (tmp_path / 'train' / 'c').mkdir()
    for name in ('.Trash', '__MACOSX'):
        (tmp_path / 'train' / name).mkdir()
    command = [str(TOOL), 'FE108', str(tmp_path), '--workers', '1']
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit, match='c: expected one recording'):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert '56 pictures of 2 sequences' in capsys.readouterr().out
    assert len(list((tmp_path / 'train' / 'b' / 'inter1_stack_3008').iterdir())) == 26
    (tmp_path / 'train' / 'c').rmdir()
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '0 pictures of 0 sequences; 2 had frames already' in capsys.readouterr().out
    for file in (tmp_path / 'train' / 'a' / 'inter1_stack_3008').iterdir():
        file.unlink()  # an empty folder is not a converted sequence
    sequence(tmp_path, 'd')
    with pytest.raises(SystemExit, match='d: .*pair.txt does not list it.*set --skip'):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert '30 pictures of 1 sequences; 1 had frames already' in capsys.readouterr().out
    assert not list((tmp_path / 'train' / 'd').glob('*stack*'))
    (tmp_path / 'pair.txt').write_text('a 0\n')  # b has its frames
    with pytest.raises(SystemExit, match=r'not converted \(1 sequences\):\n.*d: '):
        runpy.run_path(str(TOOL), run_name='__main__')
    capsys.readouterr()
    run(monkeypatch, 'FE108', tmp_path, '--skip', 3)
    assert '27 pictures of 1 sequences; 2 had frames already' in capsys.readouterr().out


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
    (folder / 'timestamps.txt').write_text('0\n5\n3\n')
    with pytest.raises(ValueError, match='timestamps.txt: times .* number 2 is 3 after 5'):
        window_borders(folder / 'events.dat')
    (tmp_path / 'pair.txt').write_text('seq one\n')
    with pytest.raises(ValueError, match='pair.txt, line 1'):
        start_frames(tmp_path)


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args), '--workers', '1'])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_pair_file_gives_the_number_of_skipped_frames(tmp_path):
    """As the official script: start = number + 1, frames are counted from 1, start <= count."""
    folder = sequence(tmp_path, 'seq')
    (tmp_path / 'pair.txt').write_text('seq 5\n\n')
    first = start_frames(tmp_path)['seq']
    official = [time for count, time in enumerate(BORDERS.tolist(), 1) if count >= 5 + 1]
    assert window_borders(folder / 'events.dat', first).tolist() == official
    (folder / 'img').mkdir()
    for number in range(7):
        (folder / 'img' / f'{number:04d}.jpg').touch()
    assert window_borders(folder / 'events.dat', first).tolist() == official[: 7 + 1]
    (tmp_path / 'pair.txt').write_text('seq 30\n')
    with pytest.raises(ValueError, match='31 frames, .* first 30 are skipped and .*img has 7 file'):
        window_borders(folder / 'events.dat', start_frames(tmp_path)['seq'])


@pytest.mark.parametrize('quirks', [False, True])
def test_long_sequences_are_drawn_one_picture_at_a_time(tmp_path, monkeypatch, quirks):
    import cv2

    folder = sequence(tmp_path, 'seq')
    pictures, written = trajectory_prompt(
        read_events(folder / 'events.dat'), SIZE, BORDERS, 2, official_quirks=quirks
    )
    monkeypatch.setattr('mmbsa.events.frames.MAX_NUMBERS', 1000)  # no array of all pictures
    assert stack_sequence(folder, 'FE108', 2, official_quirks=quirks) == written.sum()
    for row, step in np.ndindex(*written.shape):
        file = folder / 'inter2_stack_3008' / f'{row + 1:04d}_{step + 1}.png'
        assert file.is_file() == written[row, step]
        if written[row, step]:
            read = cv2.imread(str(file)).transpose(2, 0, 1)
            np.testing.assert_array_equal(read, pictures[row, step])


def test_damaged_sequences_do_not_stop_the_others(tmp_path, monkeypatch, capsys):
    for name in ('cut', 'empty', 'good'):
        sequence(tmp_path, name)
    cut = tmp_path / 'train' / 'cut' / 'events.dat'
    cut.write_bytes(cut.read_bytes()[:-3])
    (tmp_path / 'train' / 'empty' / 'events.dat').write_bytes(b'')
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, 'FE108', tmp_path)
    assert 'pair.txt does not exist: no camera frames' in (out := capsys.readouterr().out)
    lines = error.value.code.splitlines()  # a text: exit status 1
    assert lines[0] == 'error: not converted (2 sequences):' and len(lines) == 3
    at = cut.stat().st_size - 5
    assert f'{cut}: not a readable recording at byte {at} (5 bytes are not a whole' in lines[1]
    assert 'the file is empty: it has 0 bytes' in lines[2]
    assert '30 pictures of 1 sequences' in out
    assert not list(tmp_path.glob('train/cut/*stack*'))
    with pytest.raises(SystemExit, match=r'\(1 sequences\)'):
        run(monkeypatch, 'FE108', tmp_path, '--repair', 'truncated')
    assert len(list(tmp_path.glob('train/cut/inter1_stack_3008/*.png'))) == 30


def test_options_for_recordings_without_a_size(tmp_path, monkeypatch):
    folder = sequence(tmp_path, 'seq')
    x, y, t, p = (some_events()[name] for name in 'xytp')
    (folder / 'events.dat').unlink()
    np.savez(folder / 'events.npz', x=x, y=y, t=t / 1e6, p=p)
    with pytest.raises(SystemExit, match='events.npz: .*size of the sensor; .*--sensor-size'):
        run(monkeypatch, 'FE108', tmp_path)
    with pytest.raises(SystemExit, match="events.npz: .*time_unit='s'"):
        run(monkeypatch, 'FE108', tmp_path, '--sensor-size', *SIZE)
    with pytest.raises(SystemExit, match="repair='outside'"):
        run(monkeypatch, 'FE108', tmp_path, '--sensor-size', 60, 128, '--time-unit', 's')
    run(monkeypatch, 'FE108', tmp_path, '--sensor-size', *SIZE, '--time-unit', 's')
    assert len(list((folder / 'inter1_stack_3008').iterdir())) == 30


@pytest.mark.parametrize(
    'args, message',
    [
        (['none'], 'none.train: the folder does not exist'),
        (['.', '--split', 'val'], "split='val': FE108 has train, test"),
        (['.', '--steps', '0'], '--steps must be at least 1, got 0'),
        (['.', '--repair', 'foo'], 'repair must be some of'),
        (['.', '--sensor-size', '0', '5'], r'--sensor-size must be .*got \[0, 5\]'),
        (['.', '--split', 'test'], 'there are no folders of sequences'),
        (['.'], "pair.txt, line 2: expected a name and a number, found 's1 x'"),
    ],
)
def test_bad_arguments_of_the_tool_are_one_line(tmp_path, monkeypatch, args, message):
    sequence(tmp_path, 'seq')
    (tmp_path / 'test').mkdir()
    (tmp_path / 'pair.txt').write_text('seq 1\ns1 x\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'^error: .*{message}[^\n]*$'):
        run(monkeypatch, 'FE108', *args)
