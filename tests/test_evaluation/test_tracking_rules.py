"""Curves and scores against the toolkits', and every rule by itself."""

import numpy as np
import pytest
import tracking_fixtures

from mmbsa.evaluation import (
    RULES,
    THRESHOLDS,
    TrackingRules,
    curves,
    mean_curves,
    scores,
    sequence_errors,
)
from mmbsa.evaluation.tracking_rules import matlab_range

FIXTURES = tracking_fixtures.find('tracking_metrics', '.npz')
CURVES = ('success', 'precision', 'norm_precision')
#: fixture's block -> (our rules, result files, whether absent flags are given)
BLOCKS = {
    'toolkit': ('toolkit', 'pred'),
    'python': ('python', 'pred_python'),
    'python_visible_excl': ('python_visible', 'pred_python'),
}


@pytest.fixture(scope='module', params=FIXTURES)
def case(request):
    return tracking_fixtures.load(request.param)


@pytest.mark.shared
def test_every_block_of_the_fixture_is_judged(case):
    _, arrays = case
    found = {key.split('.')[0] for key in arrays if key.endswith('dataset.AUC_PR_NPR')}
    assert found == set(BLOCKS)


@pytest.mark.shared
@pytest.mark.parametrize('block', BLOCKS)
def test_curves_equal_the_official_ones(case, block):
    meta, arrays = case
    rules, key = RULES[BLOCKS[block][0]], BLOCKS[block][1]
    exact = dict(rtol=1e-6, atol=1e-6) if rules.single_precision else dict(rtol=0, atol=1e-9)
    per_sequence = []
    for row, name in enumerate(meta['order']):
        errors = sequence_errors(
            arrays[f'{name}.{key}'], arrays[f'{name}.gt'], arrays[f'{name}.absent'], rules
        )
        if block == 'toolkit':
            for ours, theirs in (
                ('overlap', 'overlap'),
                ('centre_error', 'centre_error'),
                ('norm_error', 'centre_error_norm'),
            ):
                np.testing.assert_allclose(
                    getattr(errors, ours), arrays[f'toolkit.{name}.{theirs}'], **exact
                )
        per_sequence.append(curves(errors, rules))
        for curve in CURVES:
            np.testing.assert_allclose(
                per_sequence[-1][curve], arrays[f'{block}.{curve}'][row], **exact
            )
    mean = mean_curves(per_sequence, rules)
    unit = 1 if block == 'toolkit' else 100  # the python code stores percent
    for curve in CURVES:
        np.testing.assert_allclose(unit * mean[curve], arrays[f'{block}.dataset.{curve}'], **exact)
    found = scores(mean)
    np.testing.assert_allclose(
        [found[key] for key in ('AUC', 'PR', 'NPR')],
        100 / unit * arrays[f'{block}.dataset.AUC_PR_NPR'],
        **{**exact, 'rtol': 1e-6},
    )


def boxes(*rows):
    return np.array(rows, float)


GT = boxes((10, 10, 20, 20), (12, 10, 20, 20), (14, 10, 20, 20), (16, 10, 20, 20))


def test_a_perfect_result_hits_everything_but_the_strict_end():
    found = curves(sequence_errors(GT, GT))
    assert found['success'][:-1].tolist() == [1] * 20 and found['success'][-1] == 0
    assert found['precision'].tolist() == [1] * 51
    inclusive = curves(sequence_errors(GT, GT), TrackingRules(success_inclusive=True))
    assert inclusive['success'][-1] == 1


def test_strict_precision_misses_what_lies_on_the_threshold():
    shifted = GT + [20, 0, 0, 0]
    rules = TrackingRules(precision_inclusive=False)
    errors = sequence_errors(shifted, GT, rules=rules)
    assert curves(errors)['precision'][20] == 1 and curves(errors, rules)['precision'][20] == 0.25


def test_absent_frames_leave_the_numerator_only():
    found = curves(sequence_errors(GT, GT, [0, 1, 0, 0]))
    assert found['success'][0] == 0.75
    keep = TrackingRules(absent='keep')
    assert curves(sequence_errors(GT, GT, [0, 1, 0, 0], keep), keep)['success'][0] == 1


def test_a_row_at_the_picture_edge_misses_overlap_and_hits_precision():
    gt = GT.copy()
    gt[2, 0] = 0
    found = curves(sequence_errors(GT, gt))
    assert found['success'][0] == 0.75 and found['precision'][0] == 1
    size = TrackingRules(usable='size')
    assert curves(sequence_errors(gt, gt, rules=size), size)['success'][0] == 1


def test_invalid_rows_take_the_row_before():
    result = GT.copy()
    result[1] = np.nan
    result[2, 2] = -1
    errors = sequence_errors(result, GT)
    # rows 1 and 2 became the result's own row 0
    np.testing.assert_allclose(errors.centre_error, [0, 2, 4, 0])
    with pytest.raises(ValueError, match='rows \\[1, 2\\]'):
        sequence_errors(result, GT, rules=RULES['python'])


def test_short_results_are_refused_or_padded():
    with pytest.raises(ValueError, match='seq7: the result has 2 rows, the annotation 4'):
        sequence_errors(GT[:2], GT, name='seq7')
    assert (
        curves(sequence_errors(GT[:2], GT, rules=RULES['python']), RULES['python'])['success'][0]
        == 0.5
    )
    assert curves(sequence_errors(np.concatenate([GT, GT]), GT))['success'][0] == 1


def test_all_zero_curves_leave_the_mean_per_curve():
    lost = curves(sequence_errors(GT + 1000, GT, rules=TrackingRules(first_frame_given=False)))
    kept = curves(sequence_errors(GT, GT))
    assert mean_curves([lost, kept])['success'][0] == 1
    assert mean_curves([lost, kept], TrackingRules(drop_zero_curves=False))['success'][0] == 0.5
    assert mean_curves([lost])['success'].tolist() == [0] * 21


def test_matlab_range_is_built_from_both_ends():
    values = THRESHOLDS['success']
    assert len(values) == 21 and values[0] == 0 and values[-1] == 1
    assert values[3] == 3 * 0.05 and values[17] == 1 - 3 * 0.05
    assert matlab_range(0.5, 50)[30] == 0.5 - 20 * 0.01


@pytest.mark.parametrize('change', [dict(usable='all'), dict(absent='x'), dict(repair='x')])
def test_unknown_rules_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrackingRules(**change)
