"""Anything a model sees becomes a picture, and no picture takes the place of another or of the
data."""

import numpy as np
import pytest

from mmbsa.visualization.pictures import (
    SampleNames,
    enlarge,
    event_picture,
    frame_sheet,
    refuse_inputs,
    to_picture,
    unique_names,
)


@pytest.mark.parametrize(
    'shape', [(5, 6), (5, 6, 1), (5, 6, 2), (5, 6, 3), (5, 6, 4), (4, 2, 5, 6), (1, 1, 5, 6)]
)
@pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.int64, bool])
def test_to_picture_takes_every_sample(shape, dtype):
    sample = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    picture = to_picture(sample)
    assert picture.shape == (5, 6, 3) and picture.dtype == np.uint8


def test_to_picture_keeps_photos_and_stretches_the_rest():
    photo = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(to_picture(photo), photo[..., ::-1]) and np.array_equal(
        to_picture(photo, bgr=False), photo
    )
    assert to_picture(np.array([[-1.0, 0.0], [0.5, 1.0]]))[..., 0].tolist() == [
        [0, 127],
        [191, 255],
    ]
    assert np.array_equal(to_picture(photo[..., 0].astype(np.float32))[..., 0], photo[..., 0])
    assert not to_picture(np.full((2, 2), np.float32(0.3))).any()


def test_event_picture_is_blue_for_off_and_red_for_on():
    counts = np.zeros((2, 1, 3))
    counts[0, 0, 0], counts[1, 0, 1] = 4, 4
    off, on, none = event_picture(counts)[0].astype(int)
    assert off[2] > off[0] + 50 and on[0] > on[2] + 50 and none.tolist() == [255] * 3
    assert (event_picture(np.zeros((2, 3, 3))) == 255).all()


@pytest.mark.parametrize('steps, panels', [(1, 1), (4, 4), (16, 8), (11, 8)])
def test_frame_sheet_shows_all_events(steps, panels):
    frames = np.zeros((steps, 2, 4, 5))
    frames[:, 1, 2, 2] = 1
    sheet = frame_sheet(frames)
    red = (sheet[..., 0].astype(int) - sheet[..., 2] > 50).sum()
    assert red == panels


@pytest.mark.parametrize('size', [(1, 784), (784, 1), (34, 34), (300, 400), (1, 1)])
def test_enlarge_leaves_room_for_text(size):
    height, width = enlarge(np.zeros((*size, 3), np.uint8), 128).shape[:2]
    assert min(height, width) >= 64 and max(height, width) >= 128
    assert height % size[0] == 0 and width % size[1] == 0


@pytest.mark.parametrize(
    'paths, names',
    [
        (['d/a.jpg', 'd/b.jpg'], ['a', 'b']),
        (['d/x/00.jpg', 'd/y/00.jpg', 'd/z.jpg'], ['x/00', 'y/00', 'z']),
        (['d/00.jpg', 'd/x/00.jpg'], ['00', 'x/00']),
        (['d/a.jpg', 'd/a.png'], ['a.jpg', 'a.png']),
        (['d/a.jpg', 'd/a.jpg'], ['a']),
        (['one/x/0.jpg', 'two/x/0.jpg'], ['one/x/0', 'two/x/0']),
        (['scene 3', 'scene 4'], ['scene 3', 'scene 4']),
    ],
)
def test_unique_names(paths, names):
    found = unique_names(paths)
    assert [found[path] for path in sorted(set(paths))] == names


def test_unique_names_of_names_that_hold_endings():
    paths = ['d/a.jpg', 'd/a.png', 'd/a.jpg.bmp', 'd/e/a.jpg.bmp']
    assert len(set(unique_names(paths).values())) == 4


def test_sample_names_without_a_list_of_files():
    names = SampleNames(object())
    given = [names[path] for path in ('x/0.jpg', 'y/0.jpg', 'x/0.jpg', 'z/0.jpg')]
    assert given == ['0', '0_1', '0', '0_2']


class Listed:
    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(
            img_path=self.paths[index], seg_map_path=self.paths[index].replace('.jpg', '.png')
        )


def test_sample_names_refuse_files_of_the_data(tmp_path):
    names = SampleNames(Listed(f'{tmp_path}/x/0.jpg', f'{tmp_path}/1.jpg'))
    assert names.target(f'{tmp_path}/out', f'{tmp_path}/1.jpg', '.png') == f'{tmp_path}/out/1.png'
    with pytest.raises(ValueError, match='1.png is an input file'):
        names.target(tmp_path / 'x' / '..', f'{tmp_path}/1.jpg', '.png')
    with pytest.raises(ValueError, match='0.png'):
        refuse_inputs(tmp_path / 'x/0.png', names.inputs)
