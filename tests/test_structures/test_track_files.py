"""Files of results and annotations."""

import numpy as np
import pytest

from mmbsa.structures.track_files import read_absent, read_boxes, write_result, write_times


def test_results_are_integers_truncated_towards_zero(tmp_path):
    path = tmp_path / 'a.txt'
    write_result(path, np.array([[1.9, -1.9, 20.5, 3.0]]))
    assert path.read_text() == '1\t-1\t20\t3\n'
    assert read_boxes(path).tolist() == [[1, -1, 20, 3]]
    write_times(tmp_path / 'a_time.txt', [0, 0.25])
    assert (tmp_path / 'a_time.txt').read_text() == '0.000000\n0.250000\n'


def test_nothing_is_written_for_boxes_that_are_not_finite(tmp_path):
    with pytest.raises(ValueError, match='row 1'):
        write_result(tmp_path / 'a.txt', np.array([[1, 1, 1, 1], [np.nan, 1, 1, 1]]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'text', ['1,2,3,4\n5,6,7,8\n', '1\t2\t3\t4\n5 6 7 8\n\n', '1, 2, 3, 4\r\n5,6,7,8']
)
def test_boxes_are_read_whatever_separates(tmp_path, text):
    (tmp_path / 'a.txt').write_text(text)
    assert read_boxes(tmp_path / 'a.txt').tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    'text, message',
    [('1,2,3\n', 'line 1: expected 4 numbers'), ('', 'empty'), ('1,2,3,4\n1,2,x,4\n', 'line 2')],
)
def test_bad_files_are_named(tmp_path, text, message):
    (tmp_path / 'a.txt').write_text(text)
    with pytest.raises(ValueError, match=f'a.txt.*{message}'):
        read_boxes(tmp_path / 'a.txt')
    with pytest.raises(FileNotFoundError, match='missing.txt'):
        read_boxes(tmp_path / 'missing.txt')


def test_absent_conventions_are_opposite(tmp_path):
    (tmp_path / 'a.txt').write_text('0\n1\n1\n')
    assert read_absent(tmp_path / 'a.txt').tolist() == [False, True, True]
    assert read_absent(tmp_path / 'a.txt', present_is=1).tolist() == [True, False, False]
    (tmp_path / 'a.txt').write_text('0\n2\n')
    with pytest.raises(ValueError, match="'2'"):
        read_absent(tmp_path / 'a.txt')
