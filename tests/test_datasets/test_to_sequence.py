"""Pictures as sequences."""

import numpy as np
import pytest

from mmbsa.datasets.transforms import ToSequence


def photo():
    return np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)


def test_sequence_orders_are_exact():
    img = photo()
    pixels = ToSequence()(dict(img=img))
    assert pixels['img'].shape == (1, 20, 3) and pixels['img_shape'] == (1, 20)
    assert (pixels['img'][0, 7] == img[1, 2]).all()
    rows = ToSequence('rows')(dict(img=img))['img']
    assert rows.shape == (1, 4, 15) and (rows[0, 2] == img[2].ravel()).all()
    planes = ToSequence('planes')(dict(img=img))['img']
    assert planes.shape == (1, 60, 1) and (planes[0, 20:40, 0] == img[..., 1].ravel()).all()
    assert ToSequence()(dict(img=img[..., 0]))['img'].shape == (1, 20, 1)
    assert np.array_equal(img, photo())


def test_the_permutation_is_one_and_the_same():
    step = ToSequence(permutation_seed=3)
    order = step.permutation(20)
    assert sorted(order) == list(range(20)) and not np.array_equal(order, np.arange(20))
    img = photo()
    assert np.array_equal(step(dict(img=img))['img'][0], img.reshape(20, 3)[order])
    np.random.seed(5)  # global state does not change it, and is not changed
    state = np.random.get_state()[1].tolist()
    assert np.array_equal(ToSequence(permutation_seed=3).permutation(20), order)
    assert np.random.get_state()[1].tolist() == state
    assert not np.array_equal(ToSequence(permutation_seed=4).permutation(20), order)


def test_the_permutation_never_changes():
    """Checkpoints depend on it; these are the numbers of numpy's frozen legacy generator."""
    assert ToSequence(permutation_seed=0).permutation(784)[:8].tolist() == [
        693,
        85,
        647,
        392,
        765,
        14,
        299,
        711,
    ]


def test_sequence_refuses_bad_arguments():
    with pytest.raises(ValueError, match="order must be one of .*'columns'"):
        ToSequence('columns')
    with pytest.raises(ValueError, match=r'\(4, 5, 3, 2\)'):
        ToSequence()(dict(img=np.zeros((4, 5, 3, 2))))
