"""Pictures of detections: masks tinted, boxes drawn, truth beside prediction."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmbsa.visualization import Instances, draw_instances, instances_side_by_side
from mmbsa.visualization.instances import spread_palette
from mmbsa.visualization.overlay_hook import DetOverlayHook, to_instances

CLASSES, PALETTE = ('cup', 'pen'), [(255, 0, 0), (0, 255, 0)]


def one(score=None):
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 10:20, 10:30] = True
    return Instances(
        np.array([[10.0, 10.0, 30.0, 20.0]]),
        np.array([1]),
        None if score is None else np.array([score]),
        mask,
    )


def test_draw_tints_the_mask_and_frames_the_box():
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn = draw_instances(image, one(), PALETTE, 0.5)
    assert drawn[15, 20].tolist() == [50, 177, 50] and drawn[10, 20].tolist() == [0, 255, 0]
    assert drawn[30, 50].tolist() == [100, 100, 100] and (image == 100).all()


def test_draw_takes_no_instances_and_no_masks():
    image = np.full((40, 60, 3), 100, np.uint8)
    empty = Instances(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    assert (draw_instances(image, empty, PALETTE) == 100).all()
    assert (
        draw_instances(image, Instances(one().boxes, one().labels), PALETTE)[15, 20] == 100
    ).all()


def test_low_scores_are_left_out():
    assert len(one(0.2).above(0.3).labels) == 0 and len(one(0.4).above(0.3).labels) == 1
    assert len(one().above(0.9).labels) == 1, 'the truth has no scores'


def test_side_by_side_enlarges_and_has_a_panel_per_set():
    image = np.zeros((40, 60, 3), np.uint8)
    picture = instances_side_by_side(
        image, {'ground truth': one(), 'prediction': one(0.9)}, CLASSES, PALETTE, height=80
    )
    assert picture.shape[1] == 3 * 120 + 2 * 6
    truth = picture[22:102, 126:246]
    assert truth[30, 40].tolist() == [0, 127, 0] and picture[22:102, :120].max() == 0


def test_palette_of_any_length():
    assert len(set(spread_palette(20))) == 20 and spread_palette(0) == []


def test_hook_reads_tensors_and_bitmaps():
    data = InstanceData(
        bboxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.5]),
        masks=torch.ones(1, 4, 5, dtype=torch.bool),
    )
    found = to_instances(data)
    assert (
        found.boxes.shape == (1, 4)
        and found.masks.shape == (1, 4, 5)
        and found.scores.tolist() == [0.5]
    )
    masks = pytest.importorskip('mmdet.structures.mask')
    truth = InstanceData(
        bboxes=torch.zeros(1, 4),
        labels=torch.tensor([0]),
        masks=masks.BitmapMasks(np.ones((1, 4, 5), np.uint8), 4, 5),
    )
    assert to_instances(truth).masks.all() and to_instances(truth).scores is None


def test_hook_refuses_a_threshold_outside_of_scores():
    with pytest.raises(
        ValueError, match='DetOverlayHook: score_thr must be between 0 and 1, got 2'
    ):
        DetOverlayHook(score_thr=2)
