"""Overall and mean accuracy on labels that can be counted by hand."""

import pytest
import torch

from mmbsa.evaluation import PointAccuracy


def samples(predicted, truth):
    return [
        dict(pred_label=torch.tensor([p]), gt_label=torch.tensor([t]))
        for p, t in zip(predicted, truth)
    ]


def test_overall_and_mean_accuracy():
    metric = PointAccuracy()
    metric.process({}, samples([0, 0, 0, 1], [0, 0, 0, 0]))
    metric.process({}, samples([1, 0], [1, 2]))
    assert metric.evaluate(6) == {
        'points/OA': pytest.approx(100 * 4 / 6),
        'points/mAcc': pytest.approx(100 * (3 / 4 + 1 + 0) / 3),
    }


def test_per_batch_figures_are_those_of_the_official_script():
    metric = PointAccuracy(per_batch=True)
    metric.process({}, samples([0, 0, 1], [0, 0, 0]))
    metric.process({}, samples([0, 1], [0, 1]))
    metric.process({}, samples([0], [1]))
    figures = metric.evaluate(6)
    assert figures['points/OA'] == pytest.approx(100 * 4 / 6)
    assert figures['points/OA_per_batch'] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert figures['points/mAcc_per_batch'] == pytest.approx(
        100 * ((2 / 3 + 1) / 2 + (1 + 0) / 2) / 2
    )


def test_scores_stand_for_labels():
    metric = PointAccuracy()
    metric.process({}, [dict(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=torch.tensor([1]))])
    assert metric.evaluate(1)['points/OA'] == 100
