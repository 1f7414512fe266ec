"""Random generators are saved, restored and borrowed without a trace."""

import random

import numpy as np
import torch

from mmbsa.utils.checkpoint import load_checkpoint_file
from mmbsa.utils.random_state import get_random_state, seeded, set_random_state


def draw():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        torch.rand(2).tolist(),
    )


def test_state_survives_a_checkpoint(tmp_path):
    random.gauss(0, 1)
    np.random.randn()  # leaves a second normal number waiting
    torch.save(get_random_state(), tmp_path / 'a.pth')
    expected = draw(), draw()
    set_random_state(load_checkpoint_file(tmp_path / 'a.pth'))
    assert (draw(), draw()) == expected


def test_seeded_depends_on_its_arguments_only_and_leaves_no_trace():
    set_random_state(state := get_random_state())
    expected = draw()
    set_random_state(state)
    with seeded(3, 14):
        first = draw()
    assert draw() == expected
    with seeded(3, 14):
        assert draw() == first
    for other in ((3, 15), (4, 14), (14, 3), (3, 14 + 2**32)):
        with seeded(*other):
            values = draw()
        assert all(one != two for one, two in zip(values, first))
