"""Pictures of tracks."""

import cv2
import numpy as np
import pytest

from mmbsa.visualization.tracks import PREDICTED, TRUE, Strip, VideoFile, draw_track


def test_boxes_are_drawn_on_an_enlarged_frame():
    image = draw_track(np.zeros((2, 60, 80, 3), np.uint8), (10, 10, 20, 20), (40, 20, 10, 10))
    assert image.shape == (240, 320, 3)
    assert tuple(image[40, 60]) == PREDICTED and tuple(image[80, 170]) == TRUE
    plain = draw_track(np.zeros((1, 300, 80, 3), np.uint8), (1, 1, 5, 5), (np.nan, 1, 1, 1))
    assert plain.shape == (300, 80, 3) and not (plain == TRUE).all(-1).any()


@pytest.mark.parametrize('length, every', [(3, 1), (20, 2), (500, 64)])
def test_strip_holds_few_frames_of_any_stream(tmp_path, length, every):
    strip = Strip(8)
    for number in range(length):
        strip.add(np.full((4, 6, 3), number % 256, np.uint8))
        assert len(strip.kept) < 16
    assert strip.every == every
    strip.write(tmp_path / 'strip.png')
    image = cv2.imread(str(tmp_path / 'strip.png'))
    assert image.shape[:2] == ((4, 18) if length == 3 else (8, 24))
    with pytest.raises(ValueError, match='at least 2'):
        Strip(1)


def test_video_takes_its_name_when_it_is_whole(tmp_path):
    video = VideoFile(tmp_path / 'out' / 'video.mp4')
    for number in range(5):
        video.add(np.full((48, 64, 3), 50 * number, np.uint8))
        assert not (tmp_path / 'out' / 'video.mp4').exists()
    assert video.close()
    reader = cv2.VideoCapture(str(tmp_path / 'out' / 'video.mp4'))
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    broken = VideoFile(tmp_path / 'out' / 'other.mp4')
    broken.add(np.zeros((48, 64, 3), np.uint8))
    assert not broken.close(keep=False)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['video.mp4']
