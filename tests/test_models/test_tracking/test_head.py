"""The centre head: maps, boxes at their peaks, and its loss against the official one."""

import pytest
import torch
import tracking_fixtures
from torch import nn

from mmbsa.models.tracking import CentreHead, CentreMaps, decode_boxes, tracking_losses
from mmbsa.structures import hann_window

FIXTURES = tracking_fixtures.find('sdtrack_losses', '.safetensors')


def maps_of(score, size=None, offset=None):
    batch, _, height, width = score.shape
    fill = torch.zeros(batch, 2, height, width)
    return CentreMaps(score, fill if size is None else size, fill if offset is None else offset)


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
def test_losses_from_logits_equal_the_official_ones(path):
    meta, tensors = tracking_fixtures.load(path)
    leaves = [
        tensors[f'C.{name}'].clone().requires_grad_()
        for name in ('score_logits', 'size_logits', 'offset')
    ]
    maps = CentreMaps(*(leaf.sigmoid().clamp(1e-4, 1 - 1e-4) for leaf in leaves[:2]), leaves[2])
    boxes, _ = decode_boxes(maps)
    torch.testing.assert_close(boxes, tensors['C.pred_boxes'], rtol=1e-5, atol=1e-6)
    losses = tracking_losses(maps.score, boxes, tensors['gt_xywh'])
    for name in ('focal', 'l1', 'giou'):
        torch.testing.assert_close(
            losses[f'loss_{name}'].detach() / meta['weights'][name],
            tensors[f'C.{name}'],
            rtol=1e-5,
            atol=1e-6,
        )
    total = sum(value for name, value in losses.items() if name.startswith('loss'))
    torch.testing.assert_close(total.detach(), tensors['C.total'], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses['iou'], tensors['C.iou'].mean(), rtol=1e-5, atol=1e-6)
    total.backward()
    for leaf, name in zip(leaves, ('score_logits', 'size_logits', 'offset')):
        expected = tensors[f'C.grad.{name}']
        torch.testing.assert_close(
            leaf.grad, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )


def test_box_lies_at_the_peak():
    score, size, offset = torch.zeros(1, 1, 4, 8), torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)
    score[0, 0, 2, 5] = 0.9
    size[0, :, 2, 5], offset[0, :, 2, 5] = torch.tensor([0.3, 0.4]), torch.tensor([0.5, 0.25])
    boxes, scores = decode_boxes(CentreMaps(score, size, offset))
    torch.testing.assert_close(boxes, torch.tensor([[5.5 / 8, 2.25 / 4, 0.3, 0.4]]))
    torch.testing.assert_close(scores, torch.tensor([0.9]))


def test_first_of_equal_peaks_wins_and_the_window_prefers_the_middle():
    score = torch.zeros(1, 1, 4, 4)
    score[0, 0, 0, 3] = score[0, 0, 2, 1] = 0.5
    assert decode_boxes(maps_of(score))[0][0, :2].tolist() == [0.75, 0]
    window = hann_window(4)
    boxes, scores = decode_boxes(maps_of(score), window[:, None] * window)
    assert (
        boxes[0, :2].tolist() == [0.25, 0.5] and float(scores) == 0.5
    )  # the score itself is not damped


def test_head_reads_time_out_before_the_sigmoid():
    torch.manual_seed(0)
    head = CentreHead(6, 8, neuron=dict(type='mmbsa.IntegerNode', levels=2), num_steps=2).eval()
    x = 2 * torch.randn(2, 3, 6, 4, 4)
    with torch.no_grad():
        maps = head(x)
        logits = head.branches['score'](x)
    assert maps.score.shape == (3, 1, 4, 4) and maps.size.shape == maps.offset.shape == (3, 2, 4, 4)
    torch.testing.assert_close(maps.score, logits.sigmoid())
    assert 1e-4 <= float(maps.size.min()) and float(maps.size.max()) <= 1 - 1e-4


def test_scores_and_sizes_stay_away_from_zero_and_one():
    head = CentreHead(6, 8).eval()
    for value, expected in ((40.0, 1 - 1e-4), (-40.0, 1e-4)):
        for parameter in head.parameters():
            nn.init.constant_(parameter, 0.0)
        for branch in head.branches.values():
            [*branch.modules()][-1].bias.data.fill_(value)
        maps = head(torch.zeros(1, 1, 6, 2, 2))
        for found in (maps.score, maps.size):
            torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=1e-7)


def test_published_widths_have_the_published_parameters():
    def count(*args):
        return sum(p.numel() for p in CentreHead(*args).parameters())

    assert (
        count(360, 256) == 3_654_021
        and count(768, 512) == 15_270_661
        and count(768, 256) == 6_474_117
    )
    with pytest.raises(ValueError, match='channels=12'):
        CentreHead(16, 12)


def test_maps_under_autocast_are_not_rounded_to_16_bits():
    torch.manual_seed(0)
    head = CentreHead(16, channels=8).eval()
    x = 3 * torch.rand(1, 2, 16, 8, 8)
    with torch.no_grad():
        expected = head(x)
        with torch.autocast('cpu', torch.bfloat16):
            found = head(x.bfloat16())
    for name, low, high in zip(CentreMaps._fields, found, expected):
        assert low.dtype == torch.float32 and (low != low.bfloat16().float()).any(), name
        torch.testing.assert_close(low, high, rtol=0, atol=0.02)
