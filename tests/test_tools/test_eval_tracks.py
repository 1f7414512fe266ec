"""``tools/analysis_tools/eval_tracks.py`` on foreign result files."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_tracking
import tracking_fixtures

from mmbsa.structures.track_files import write_result

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools' / 'eval_tracks.py'
FIXTURES = tracking_fixtures.find('tracking_metrics', '.npz')


def run(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')
    return capsys.readouterr().out


def write_toolkit(root, sequences):
    """``gt_rect``, ``absent`` and ``att`` of {name: (boxes, absent, attributes)}."""
    for folder in ('gt_rect', 'absent', 'att'):
        (root / folder).mkdir(parents=True)
    for name, (boxes, absent, attributes) in sequences.items():
        np.savetxt(root / 'gt_rect' / f'{name}.txt', boxes, delimiter=',', fmt='%.10g')
        np.savetxt(root / 'absent' / f'{name}.txt', absent, fmt='%d')
        (root / 'att' / f'{name}.txt').write_text(','.join(map(str, attributes)))


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
def test_scores_equal_the_toolkits(path, tmp_path, monkeypatch, capsys):
    meta, arrays = tracking_fixtures.load(path)
    write_toolkit(
        tmp_path / 'annos',
        {name: (arrays[f'{name}.gt'], arrays[f'{name}.absent'], [1, 0]) for name in meta['order']},
    )
    (tmp_path / 'results').mkdir()
    for name in meta['order']:
        np.savetxt(
            tmp_path / 'results' / f'{name}.txt',
            arrays[f'{name}.pred'],
            delimiter='\t',
            fmt='%.10g',
        )
    out = run(
        monkeypatch, capsys, tmp_path / 'results', tmp_path / 'annos', '--out', tmp_path / 'out'
    )
    expected = meta['toolkit_dataset_%']
    assert ' | '.join(f'{expected[key]:.2f}' for key in ('AUC', 'PR', 'NPR')) in out
    found = json.loads((tmp_path / 'out' / 'scores.json').read_text())
    assert found['sequences'] == len(meta['order'])
    scores = found['trackers']['results']['scores']
    assert [scores[key] for key in ('AUC', 'PR', 'NPR')] == pytest.approx(
        100 * arrays['toolkit.dataset.AUC_PR_NPR'], abs=1e-6
    )
    assert found['trackers']['results']['by_attribute']['attribute1'] == scores


def two_trackers(root):
    for name in ('one', 'two'):
        tiny_tracking.write_sequence('VisEvent', root / 'data', 'test', name)
        write_result(root / 'all' / 'good' / f'{name}.txt', tiny_tracking.boxes(24))
        write_result(root / 'all' / 'late' / f'{name}.txt', tiny_tracking.boxes(24, start=4))
    return root / 'all', root / 'data'


def test_trackers_stand_side_by_side(tmp_path, monkeypatch, capsys):
    results, data = two_trackers(tmp_path)
    out = run(monkeypatch, capsys, results, data, '--layout', 'VisEvent', '--out', tmp_path / 'out')
    rows = [line for line in out.splitlines() if line.startswith(('| good', '| late'))]
    assert [row.split('|')[1].strip() for row in rows] == ['good', 'late']  # best first
    assert '100.00' in rows[0] and '100.00 |' in rows[1]  # 4 pixels are no miss of precision at 20
    assert cv2.imread(str(tmp_path / 'out' / 'plots.png')).shape[1] > 1000
    alone = run(
        monkeypatch, capsys, results / 'late', results / 'good', data, '--layout', 'VisEvent'
    )
    assert alone == out
    for tracker in ('first', 'second'):  # as the official RESULTS/TRACKER/CONFIG
        shutil.copytree(results / 'good', tmp_path / 'deep' / tracker / 'base')
    out = run(monkeypatch, capsys, tmp_path / 'deep', data, '--layout', 'VisEvent')
    assert '| first/base |' in out and '| second/base |' in out
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links' / 'ours').symlink_to(results / 'good')
    for given in (tmp_path / 'links', tmp_path / 'links' / 'ours'):
        out = run(monkeypatch, capsys, given, data, '--layout', 'VisEvent')
        assert '| ours |' in out
    with pytest.raises(SystemExit, match='good: this folder of results is given twice'):
        run(monkeypatch, capsys, results, results / 'good', data, '--layout', 'VisEvent')


def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    results, data = two_trackers(tmp_path)
    (results / 'good' / 'two.txt').unlink()
    with pytest.raises(
        SystemExit, match='error: .*good: 1 of 2 result files are missing, for example two.txt'
    ):
        run(monkeypatch, capsys, results, data, '--layout', 'VisEvent')
    assert '| good | 1 |' in run(
        monkeypatch, capsys, results, data, '--layout', 'VisEvent', '--partial'
    )
    write_result(results / 'good' / 'two.txt', tiny_tracking.boxes(5))
    with pytest.raises(SystemExit, match='two.txt: the result has 5 rows, the annotation 24'):
        run(monkeypatch, capsys, results, data, '--layout', 'VisEvent')
    with pytest.raises(SystemExit, match='gt_rect.*no annotation of a toolkit'):
        run(monkeypatch, capsys, results, data)
    with pytest.raises(SystemExit, match='have no result file of the benchmark'):
        run(monkeypatch, capsys, data, data, '--layout', 'VisEvent')


def test_wrong_options_give_a_one_line_error_and_no_output(tmp_path, monkeypatch, capsys):
    results, data = two_trackers(tmp_path)
    kit = tmp_path / 'annos'
    rows = tiny_tracking.boxes(24)
    write_toolkit(kit, {name: (rows, np.zeros(24), [1, 0]) for name in ('one', 'two')})
    empty, file = tmp_path / 'empty.txt', tmp_path / 'file'
    empty.touch()
    file.write_text('old')
    for options, message in (
        (['--sequences', empty], 'empty.txt: the file is empty'),
        (['--sequences', tmp_path / 'no.txt'], 'no.txt: the file does not exist'),
        (['--out', file], '--out .*file is a file, expected a folder'),
        (['--out', file / 'out'], 'file'),
        (['--toolkit', kit], '--toolkit .*annos needs --layout'),
        (['--split', 'train'], '--split train needs --layout'),
    ):
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            run(monkeypatch, capsys, results, kit, *options)
    with pytest.raises(SystemExit, match='empty.txt: the file is empty'):
        run(monkeypatch, capsys, results, data, '--layout', 'VisEvent', '--sequences', empty)
    (kit / 'att' / 'two.txt').write_text('1,x')
    with pytest.raises(SystemExit, match="two.txt: expected a 0 or 1 per attribute, found '1,x'"):
        run(monkeypatch, capsys, results, kit)
    assert capsys.readouterr().out == '' and file.read_text() == 'old'


def test_meaning_of_flags_is_an_option(tmp_path, monkeypatch, capsys):
    results, data = two_trackers(tmp_path)
    for name in ('one', 'two'):
        (data / 'test' / name / 'absent.txt').write_text('1\n' * 24)
    args = [results / 'good', data, '--layout', 'VisEvent']
    with pytest.warns(UserWarning, match='absent.txt: .*absent in 24 of 24 frames'):
        assert '| good | 2 | 95.24 |' not in run(monkeypatch, capsys, *args)
    assert '| good | 2 | 95.24 |' in run(monkeypatch, capsys, *args, '--absent', 'present')
