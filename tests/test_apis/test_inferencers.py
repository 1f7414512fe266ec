"""Inferencers: files and arrays in, the predictions of the mm packages out."""

import cv2
import numpy as np
import pytest
import tiny_tools
import torch
from mmengine.config import Config

from mmbsa.apis import (
    ClassificationInferencer,
    DetectionInferencer,
    Inferencer,
    SegmentationInferencer,
    find_config,
)
from mmbsa.events import make_events, read_events

pytestmark = pytest.mark.seg


@pytest.fixture(scope='module')
def grey(tmp_path_factory):
    return tiny_tools.grey_segmentor(tmp_path_factory.mktemp('grey'))


@pytest.fixture(scope='module')
def events(tmp_path_factory):
    pytest.importorskip('mmpretrain')
    folder = tmp_path_factory.mktemp('events')
    return folder, tiny_tools.event_classifier(folder)


def test_a_file_equals_mmseg_and_its_array(grey, tmp_path):
    from mmseg.apis import inference_model, init_model

    path = tiny_tools.photo(tmp_path / 'a.png')
    expected = inference_model(init_model(*grey, device='cpu'), str(path)).pred_sem_seg.data[0]
    inferencer = SegmentationInferencer(*grey, device='cpu')
    assert inferencer.classes == ('a', 'b', 'c')
    result = inferencer(path)
    assert result['predictions'].dtype == np.int64
    assert np.array_equal(result['predictions'], expected.numpy())
    picture = result['visualization']
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[1] > 2 * 70
    array = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    several = inferencer([str(path), array], visualize=False)
    for one in several:
        assert np.array_equal(one['predictions'], expected.numpy())
        assert one['visualization'] is None


def test_recordings_are_classified(events):
    folder, files = events
    path = folder / 'data/test/left/00.npz'
    inferencer = ClassificationInferencer(*files, device='cpu')
    result = inferencer(path)['predictions']
    assert result['pred_class'] in inferencer.classes and len(inferencer.classes) == 2
    assert result['pred_scores'].shape == (2,)
    assert result['pred_label'] == result['pred_scores'].argmax()
    assert result['pred_score'] == result['pred_scores'].max()
    array = inferencer(read_events(path, sensor_size=(20, 24)))
    assert np.array_equal(array['predictions']['pred_scores'], result['pred_scores'])
    assert array['visualization'].shape[1] >= 224


def test_the_general_one_takes_any_model(grey, events, tmp_path):
    folder, files = events
    assert Inferencer(*grey, device='cpu')(tiny_tools.photo(tmp_path / 'a.png'))[
        'predictions'
    ].shape == (50, 70)
    recording = folder / 'data/test/right/01.npz'
    assert 'pred_label' in Inferencer(*files, device='cpu')(recording)['predictions']


def test_detection_inferencer_finds_instances(tmp_path):
    pytest.importorskip('mmdet')
    inferencer = DetectionInferencer('bsa_detection_quickstart', device='cpu')
    result = inferencer(tiny_tools.photo(tmp_path / 'a.png', (96, 96)))
    found = result['predictions']
    assert found['bboxes'].shape == (len(found['labels']), 4)
    assert found['scores'].shape == found['labels'].shape
    assert result['visualization'].shape[1] > 2 * 96


def test_a_name_is_a_config_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = find_config('bsa_quickstart')
    assert path.name == 'bsa_quickstart.py' and 'model' in Config.fromfile(path)
    with pytest.raises(FileNotFoundError, match='bsa_quickstat.*did you mean.*bsa_quickstart'):
        find_config('bsa_quickstat')
    with pytest.raises(FileNotFoundError, match='no_package'):
        find_config('no_package::a/b.py')
    torch.manual_seed(0)
    labels = SegmentationInferencer('bsa_quickstart', device='cpu')(
        np.zeros((64, 96, 3), np.uint8), visualize=False
    )['predictions']
    assert labels.shape == (64, 96) and labels.max() < 7


def test_wrong_use_is_named(grey, events, tmp_path):
    _, files = events
    inferencer = SegmentationInferencer(*grey, device='cpu')
    with pytest.raises(ValueError, match=r'reads picture, got an array of shape \(4,\)'):
        inferencer(make_events([0] * 4, [0] * 4, [0] * 4, [0] * 4))
    with pytest.raises(ValueError, match='opacity must be between 0 and 1, got 2'):
        inferencer(np.zeros((32, 32), np.uint8), opacity=2)
    with pytest.raises(ValueError, match='use SegmentationInferencer'):
        ClassificationInferencer(*grey, device='cpu')(np.zeros((32, 32), np.uint8))
    with pytest.raises(ValueError, match='reads events, got an array'):
        ClassificationInferencer(*files, device='cpu')(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(FileNotFoundError, match='no.pth does not exist'):
        SegmentationInferencer(grey[0], 'no.pth')


def test_options_reach_the_config(grey):
    inferencer = SegmentationInferencer(
        *grey, device='cpu', cfg_options={'model.test_cfg.mode': 'slide'}, fuse=True
    )
    assert inferencer.model.test_cfg.mode == 'slide'
