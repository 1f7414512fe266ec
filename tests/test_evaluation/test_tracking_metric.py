"""The metric as an evaluator uses it."""

import numpy as np
import pytest
import torch
import tracking_fixtures
from mmengine.evaluator import Evaluator

from mmbsa.evaluation import TrackingMetric, get_rules
from mmbsa.structures import TrackDataSample
from mmbsa.structures.track_files import read_boxes

FIXTURES = tracking_fixtures.find('tracking_metrics', '.npz')


def sample(name, gt, pred, absent=None, **meta):
    gt = torch.as_tensor(np.array(gt, float))
    out = TrackDataSample(metainfo=dict(sequence=name, **meta))
    out.gt_boxes, out.pred_boxes = gt, torch.as_tensor(np.array(pred, float))
    out.absent = (
        torch.zeros(len(gt), dtype=torch.bool) if absent is None else torch.as_tensor(absent)
    )
    return out


@pytest.mark.shared
@pytest.mark.parametrize('path', FIXTURES)
@pytest.mark.parametrize(
    'rules, block, key',
    [
        ('toolkit', 'toolkit', 'pred'),
        ('python', 'python', 'pred_python'),
        ('python_visible', 'python_visible_excl', 'pred_python'),
    ],
)
def test_metric_equals_the_official_scores(path, rules, block, key):
    meta, arrays = tracking_fixtures.load(path)
    evaluator = Evaluator(dict(type='mmbsa.TrackingMetric', rules=rules))
    for name in meta['order']:
        evaluator.process(
            [
                sample(
                    name,
                    arrays[f'{name}.gt'],
                    arrays[f'{name}.{key}'],
                    arrays[f'{name}.absent'].astype(bool),
                )
            ]
        )
    found = evaluator.evaluate(len(meta['order']))
    expected = np.asarray(arrays[f'{block}.dataset.AUC_PR_NPR']) * (
        100 if block == 'toolkit' else 1
    )
    for name, value in zip(('AUC', 'PR', 'NPR'), expected):
        assert found[f'track/{name}'] == pytest.approx(value, rel=1e-6)


def test_attributes_are_reported_apart(tmp_path):
    metric = TrackingMetric(attributes=True, output_dir=str(tmp_path))
    gt = [[10, 10, 20, 20], [12, 10, 20, 20]]
    metric.process(
        None,
        [
            sample('a', gt, gt, attributes=['blur']),
            sample('b', gt, [[10, 10, 20, 20], [300, 10, 20, 20]], attributes=['blur', 'far']),
        ],
    )
    found = metric.evaluate(2)
    assert found['track/far/PR'] == 50 and found['track/blur/PR'] == 75 == found['track/PR']
    assert (tmp_path / 'b.txt').read_text() == '10\t10\t20\t20\n300\t10\t20\t20\n'


def test_result_files_are_written_together(tmp_path):
    metric = TrackingMetric(output_dir=str(tmp_path))
    gt = [[10, 10, 20, 20], [12, 10, 20, 20]]
    metric.process(None, [sample('a', gt, gt)])
    with pytest.raises(ValueError, match='b: row 1 .*not finite'):
        metric.process(None, [sample('b', gt, [gt[0], [float('nan')] * 4])])
    with pytest.raises(ValueError, match='b: the result has 1 rows'):
        metric.process(None, [sample('b', gt, gt[:1])])
    assert not list(tmp_path.iterdir())
    metric.process(None, [sample('b', gt, gt)])
    metric.evaluate(2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['a.txt', 'b.txt']
    timed = sample('a', gt, gt)
    timed.seconds = torch.tensor([0.0, 0.25])
    metric.process(None, [timed])
    assert metric.evaluate(1)['track/fps'] == pytest.approx(4)
    assert (tmp_path / 'a_time.txt').read_text().split() == ['0.000000', '0.250000']


def test_frames_before_the_track_do_not_count_as_fast():
    gt = [[0, 0, 0, 0]] * 5 + [[10, 10, 20, 20]] * 3
    late = sample('a', gt, [[10, 10, 20, 20]] * 8)
    late.seconds = torch.tensor([0.0] * 6 + [0.5, 0.5])
    metric = TrackingMetric()
    metric.process(None, [late])
    assert metric.evaluate(1)['track/fps'] == pytest.approx(2)


@pytest.mark.parametrize('truncate', [False, True])
def test_boxes_can_be_truncated_as_in_the_official_files(tmp_path, truncate):
    gt = [[10, 10, 20, 20]] * 3
    predicted = [[10, 10, 20, 20], [10.9, 10, 20.9, 20], [-0.9, 10, 40, 20]]
    metric = TrackingMetric(truncate=truncate, output_dir=str(tmp_path))
    metric.process(None, [sample('a', gt, predicted)])
    found = metric.evaluate(1)
    exact = TrackingMetric()
    exact.process(
        None, [sample('a', gt, read_boxes(tmp_path / 'a.txt') if truncate else predicted)]
    )
    assert found == exact.evaluate(1)
    assert (tmp_path / 'a.txt').read_text().splitlines()[1:] == ['10\t10\t20\t20', '0\t10\t40\t20']


def test_rules_are_switched_by_field():
    assert get_rules(dict(base='python', repair='none')).repair == 'none'
    with pytest.raises(ValueError, match='lasot'):
        get_rules('lasot')
    with pytest.raises(ValueError, match='strict'):
        get_rules(dict(strict=True))
