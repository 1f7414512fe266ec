"""Boxes of Prophesee's detection data sets."""

import numpy as np
import pytest

from mmbsa import events as ev

GEN1 = [
    ('ts', '<u8'),
    ('x', '<f4'),
    ('y', '<f4'),
    ('w', '<f4'),
    ('h', '<f4'),
    ('class_id', 'u1'),
    ('confidence', '<f4'),
    ('track_id', '<u4'),
]
ONE_MPX = [
    ('t', '<i8'),
    ('x', '<f4'),
    ('y', '<f4'),
    ('w', '<f4'),
    ('h', '<f4'),
    ('class_id', '<u4'),
    ('track_id', '<u4'),
    ('class_confidence', '<f4'),
]


def boxes(dtype, count=3):
    rows = np.zeros(count, dtype)
    rows[dtype[0][0]] = [30, 10, 20][:count]
    for name, value in dict(x=-3.0, y=2.0, w=40.0, h=30.0, class_id=1, track_id=7).items():
        rows[name] = value
    return rows


@pytest.mark.parametrize('dtype', [GEN1, ONE_MPX], ids=['Gen1', '1Mpx'])
def test_read_boxes(tmp_path, dtype):
    np.save(tmp_path / 'a_bbox.npy', boxes(dtype))
    out = ev.read_boxes(tmp_path / 'a_bbox.npy', 2)
    assert out.dtype == ev.BOX_DTYPE and out['t'].tolist() == [10, 20, 30]
    assert out[0][['x', 'y', 'w', 'h', 'class_id', 'track_id']].tolist() == (-3, 2, 40, 30, 1, 7)
    np.save(tmp_path / 'b_bbox.npy', boxes(dtype, 0))
    assert len(ev.read_boxes(tmp_path / 'b_bbox.npy')) == 0


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(w=0.0), 'box 1 has the size 0 x 30'),
        (dict(h=-2.0), 'box 1 has the size 40 x -2'),
        (dict(x=np.nan), 'x should hold finite numbers'),
        (dict(class_id=2), r'box 1 has the class 2; .*0\.\.1'),
    ],
)
def test_bad_boxes_are_named(tmp_path, change, message):
    rows = boxes(ONE_MPX)
    for name, value in change.items():
        rows[name][1] = value
    np.save(tmp_path / 'a_bbox.npy', rows)
    with pytest.raises(ev.RecordingError, match=f'a_bbox.npy: .*{message}'):
        ev.read_boxes(tmp_path / 'a_bbox.npy', 2)


def test_files_that_are_no_boxes(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((3, 4)))
    with pytest.raises(ev.RecordingError, match='a.npy: .*expected boxes with the fields'):
        ev.read_boxes(tmp_path / 'a.npy')
    (tmp_path / 'b.npy').write_bytes(b'no array')
    with pytest.raises(ev.RecordingError, match='b.npy: .*no array of boxes'):
        ev.read_boxes(tmp_path / 'b.npy')
    with pytest.raises(FileNotFoundError, match='c.npy'):
        ev.read_boxes(tmp_path / 'c.npy')
