"""Which level stands for which map: pure functions, against cases worked out by hand and against
properties."""

from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbsa.apis.swap.level import Level
from mmbsa.apis.swap.match import match, match_decoded, match_strides

OURS = (2, 4, 8, 16, 16)


def levels(*strides: int, width: int = 0, coarsest: int = 0) -> list[Level]:
    return [Level(width or 10 * (i + 1), s, coarsest or s, i) for i, s in enumerate(strides)]


@pytest.mark.parametrize(
    'strides, new, expected',
    [
        ((4, 8, 16, 32), OURS, [1, 2, 3, 4]),  # ResNet, Swin, HRNet
        ((4, 8, 8, 8), OURS, [1, 2, 3, 4]),  # dilated: stages stay stages
        ((4, 8, 16, 16), OURS, [1, 2, 3, 4]),
        ((2, 4, 8), OURS, [0, 1, 4]),  # the last map holds the whole network
        ((8, 16, 32), OURS, [2, 3, 4]),
        ((16,), OURS, [4]),
        ((4, 8, 16, 32), (2, 4, 8, 16), [1, 2, 3, 3]),
        ((4, 8, 16, 32), (8, 16), [0, 0, 1, 1]),
        ((8, 16, 32, 64), OURS, [2, 3, 4, 4]),
    ],
)
def test_match_of_pyramids(strides, new, expected):
    assert match_strides(strides, new) == expected


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_nesting_is_ordered_ends_deep_and_never_beats_the_best_single_choice(old, new):
    strides, ours = sorted(2**o for o in old), sorted(2**n for n in new)
    found = match_strides(strides, ours)
    assert found == sorted(found) and found[-1] == len(ours) - 1
    alone = sum(min(abs(log2(s / t)) for t in ours) for s in strides)
    assert sum(abs(log2(s / ours[j])) for s, j in zip(strides, found)) >= alone


def test_maps_of_one_shape_get_levels_of_one_stride():
    vit, ours = levels(16, 16, 16, 16, width=768), levels(*OURS)
    assert match(vit, ours) == [3, 3, 4, 4]
    assert match(vit, ours, one_width=True) == [4, 4, 4, 4]


def test_order_of_the_outputs_does_not_matter():
    ours = levels(*OURS)
    assert match(levels(32, 16, 8, 4), ours) == [4, 3, 2, 1]


@pytest.mark.parametrize(
    'strides, expected',
    [
        ((8,), [2]),
        ((2,), [0]),
        ((8, 8, 16), [2, 2, 4]),
        ((8, 4, 8, 16, 32), [2, 1, 2, 3, 4]),
        ((16, 8, 4, 2, 1), [4, 2, 1, 0, 0]),
        ((8, 32, 8), [2, 4, 2]),
    ],
)
def test_decoded_maps_go_by_stride(strides, expected):
    assert match_decoded(levels(*strides, coarsest=32), levels(*OURS)) == expected


def test_a_level_knows_whether_it_was_decoded():
    assert Level(64, 8, 32).decoded and not Level(64, 8, 8).decoded and not Level(64, 8).decoded
