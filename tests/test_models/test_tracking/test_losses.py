"""Losses and their gradients against the official ones."""

import math

import pytest
import torch
import tracking_fixtures
from torch import Tensor

from mmbsa.models.tracking.losses import (
    centre_focal_loss,
    centre_heatmap,
    gaussian_radius,
    generalized_iou,
    tracking_losses,
)
from mmbsa.structures import corners, corners_from_centre

FIXTURES = tracking_fixtures.find('sdtrack_losses', '.safetensors')
CLOSE = dict(rtol=1e-5, atol=1e-7)


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    return tracking_fixtures.load(request.param)


def close(ours: Tensor, theirs: Tensor):
    """Within 1e-5 of the larger of the number itself and the largest number of the tensor."""
    scale = float(theirs.abs().max())
    torch.testing.assert_close(
        ours.reshape(theirs.shape), theirs, rtol=1e-5, atol=max(1e-5 * scale, 1e-9)
    )


@pytest.mark.shared
def test_heatmaps_equal_the_official_ones(case):
    _, tensors = case
    keys = [key for key in tensors if key.startswith('heatmap.')]
    assert keys
    for key in keys:
        side, stride = map(int, key.split('.')[1].split('_'))
        ours = centre_heatmap(tensors['gt_xywh'], side // stride)
        torch.testing.assert_close(ours, tensors[key], rtol=1e-5, atol=1e-7)
        assert torch.equal(ours == 1, tensors[key] == 1) and torch.equal(
            ours == 0, tensors[key] == 0
        )
    peaks = centre_heatmap(tensors['gt_xywh'], 16).eq(1).flatten(1).sum(1)
    assert peaks.tolist() == case[0]['positives_per_sample']


@pytest.mark.shared
def test_radius_equals_the_official_one(case):
    _, tensors = case
    radius = gaussian_radius(tensors['gt_xywh'][:, 2:] * 16)
    torch.testing.assert_close(radius, tensors['radius.float'], **CLOSE)
    assert torch.equal(radius.clamp(min=0).int(), tensors['radius.int'])


@pytest.mark.shared
def test_losses_and_gradients_of_given_maps(case):
    meta, tensors = case
    score, boxes = (tensors[f'A.{k}'].clone().requires_grad_() for k in ('score_map', 'pred_boxes'))
    gt, weights = tensors['gt_xywh'], meta['weights']
    losses = tracking_losses(score, boxes[:, 0], gt)
    for name in ('focal', 'l1', 'giou'):
        close(losses[f'loss_{name}'].detach() / weights[name], tensors[f'A.{name}'])
    total = losses['loss_focal'] + losses['loss_l1'] + losses['loss_giou']
    close(total.detach(), tensors['A.total'])
    total.backward()
    close(score.grad, tensors['A.grad.score_map'])
    close(boxes.grad, tensors['A.grad.pred_boxes'])
    predicted, target = corners_from_centre(tensors['A.pred_boxes'][:, 0]), corners(gt).clamp(0, 1)
    close(generalized_iou(predicted, target)[1], tensors['A.iou'])
    for name, leaf in (('focal', score), ('l1', boxes), ('giou', boxes)):
        leaf.grad = None
        loss = tracking_losses(score, boxes[:, 0], gt)[f'loss_{name}'] / weights[name]
        loss.backward()
        key = 'score_map' if name == 'focal' else 'pred_boxes'
        close(leaf.grad, tensors[f'A.grad_only.{name}.{key}'])


@pytest.mark.shared
def test_focal_loss_without_any_peak(case):
    meta, tensors = case
    heatmap = centre_heatmap(tensors['B.gt_xywh'], 16)
    torch.testing.assert_close(heatmap, tensors['B.heatmap'], rtol=1e-5, atol=1e-7)
    assert int(heatmap.eq(1).sum()) == meta['B_positives']
    score = tensors['B.score_map'].clone().requires_grad_()
    loss = centre_focal_loss(score, heatmap)
    close(loss.detach(), tensors['B.focal'])
    loss.backward()
    close(score.grad, tensors['B.grad.score_map'])


def test_heatmap_of_a_map_that_is_not_square():
    heatmap = centre_heatmap(torch.tensor([[0.2, 0.4, 0.2, 0.2]]), (10, 20))
    assert heatmap.shape == (1, 10, 20) and heatmap[0, 5, 6] == 1 and int(heatmap.eq(1).sum()) == 1


def test_iou_of_equal_and_of_distant_boxes():
    a = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]])
    giou, iou = generalized_iou(a, b)
    assert iou.tolist() == [1, 0]
    torch.testing.assert_close(giou, torch.tensor([1.0, -0.5]))


def test_heatmap_is_a_gaussian_inside_the_radius():
    box = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    (heatmap,) = centre_heatmap(box, 16)
    radius = int(gaussian_radius(box[:, 2:] * 16).item())
    sigma = (2 * radius + 1) / 6
    for y, x in ((8, 8), (8, 9), (7, 9), (8 + radius, 8), (8 + radius + 1, 8)):
        inside = max(abs(y - 8), abs(x - 8)) <= radius
        squared = (y - 8) ** 2 + (x - 8) ** 2
        expected = math.exp(-squared / (2 * sigma**2)) if inside else 0.0
        assert heatmap[y, x].item() == pytest.approx(expected, abs=1e-6)
